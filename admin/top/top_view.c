/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals that ask to end only set a flag, which the waiting poll() notices, so
 * that everything is put back in order on the ordinary way out.  Signals of a
 * crash put the terminal back by themselves, with what was prepared before:
 * ncurses may not be called there.
 */
#include "admin/top/top_view.h"

#include <errno.h>
#include <signal.h>

static volatile sig_atomic_t asked_to_end;

int top_view_signal(void)
{
    return asked_to_end;
}

#ifdef VGPU_HAVE_CURSES

#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

/* term.h has them as macros. */
#undef lines
#undef columns

#define RESTORE_BYTES 128
#define ESCAPE_DELAY_MS 50

static SCREEN *screen;
static struct termios saved_terminal;
static char restore[RESTORE_BYTES]; /* leaves the alternate screen, shows the cursor */
static size_t restore_bytes;
static bool colored;

static void on_end(int number)
{
    asked_to_end = number;
}

static void on_crash(int number)
{
    if (write(STDOUT_FILENO, restore, restore_bytes) > 0) {
        tcsetattr(STDOUT_FILENO, TCSANOW, &saved_terminal);
    }
    raise(number); /* SA_RESETHAND: now for real */
}

static void catch_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction end = {.sa_handler = on_end};
    struct sigaction crash = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        sigaction(ends[i], &end, NULL);
    }
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) {
        sigaction(crashes[i], &crash, NULL);
    }
}

static void remember(const char *capability)
{
    const char *text = tigetstr((char *)capability);
    size_t length = text && text != (const char *)-1 ? strlen(text) : 0;

    if (length > 0 && restore_bytes + length < sizeof(restore)) {
        /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, counted by restore_bytes */
        memcpy(restore + restore_bytes, text, length);
        restore_bytes += length;
    }
}

/* It is known, and the cursor can be sent to a place: "dumb" is known and can't. */
static bool terminal_is_able(void)
{
    const char *move;
    bool able;
    int found;

    if (setupterm(NULL, STDOUT_FILENO, &found) != OK) {
        return false;
    }
    move = tigetstr("cup");
    able = move && move != (const char *)-1;
    del_curterm(cur_term); /* newterm() makes its own */
    return able;
}

int top_view_start(bool color)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        tcgetattr(STDOUT_FILENO, &saved_terminal) < 0) {
        return -ENOTTY;
    }
    screen = terminal_is_able() ? newterm(NULL, stdout, stdin) : NULL;
    if (!screen) {
        return -ENODEV;
    }
    remember("sgr0");
    remember("cnorm");
    remember("rmcup");
    catch_signals(); /* after newterm(), which has handlers of its own */
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(ESCAPE_DELAY_MS);
    curs_set(0);
    colored = color && has_colors() && start_color() == OK && use_default_colors() == OK;
    if (colored) {
        init_pair(STYLE_GOOD, COLOR_GREEN, -1);
        init_pair(STYLE_WARN, COLOR_YELLOW, -1);
        init_pair(STYLE_BAD, COLOR_RED, -1);
    }
    return 0;
}

void top_view_end(void)
{
    if (screen) {
        endwin();
        delscreen(screen);
        screen = NULL;
        fflush(stdout);
    }
}

void top_view_size(unsigned *width, unsigned *height)
{
    *width = (unsigned)getmaxx(stdscr);
    *height = (unsigned)getmaxy(stdscr);
}

static attr_t attribute_of(enum render_style style)
{
    switch (style) {
    case STYLE_BOLD: return A_BOLD;
    case STYLE_DIM: return A_DIM;
    case STYLE_GOOD:
    case STYLE_WARN:
    case STYLE_BAD: return colored ? (attr_t)COLOR_PAIR(style) : A_BOLD;
    default: return A_NORMAL;
    }
}

void top_view_show(const struct top_page *page)
{
    erase();
    for (size_t y = 0; y < page->count && (int)y < getmaxy(stdscr); y++) {
        const struct top_line *line = &page->lines[y];
        size_t from = 0;

        move((int)y, 0);
        for (size_t i = 0; i < line->span_count; i++) {
            attrset(attribute_of(line->spans[i].style) | (line->selected ? A_REVERSE : 0));
            addnstr(line->text + from, (int)(line->spans[i].end - from));
            from = line->spans[i].end;
        }
    }
    attrset(A_NORMAL);
    refresh();
}

static int translate(int key)
{
    switch (key) {
    case ERR: return TOP_KEY_NONE;
    case KEY_RESIZE: return TOP_KEY_RESIZED;
    case KEY_UP: return TOP_KEY_UP;
    case KEY_DOWN: return TOP_KEY_DOWN;
    case KEY_PPAGE: return TOP_KEY_PAGE_UP;
    case KEY_NPAGE: return TOP_KEY_PAGE_DOWN;
    case KEY_HOME: return TOP_KEY_HOME;
    case KEY_END: return TOP_KEY_END;
    case KEY_BACKSPACE:
    case 0x7f:
    case 0x08: return TOP_KEY_BACKSPACE;
    case KEY_ENTER:
    case '\n':
    case '\r': return TOP_KEY_ENTER;
    case 0x1b: return TOP_KEY_ESCAPE;
    case 0x0c: clearok(curscr, TRUE); return TOP_KEY_RESIZED; /* Ctrl-L */
    default: return key <= 0xff ? key : TOP_KEY_NONE;
    }
}

int top_view_wait(int timeout_ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int key = translate(getch());
    int n;

    if (asked_to_end) {
        return TOP_KEY_QUIT;
    }
    if (key != TOP_KEY_NONE) {
        return key;
    }
    n = poll(&input, 1, timeout_ms);
    if (asked_to_end || (n > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)))) {
        return TOP_KEY_QUIT;
    }
    return translate(getch());
}

#else /* !VGPU_HAVE_CURSES */

int top_view_start(bool color)
{
    return -ENOSYS;
}

void top_view_end(void)
{
}

void top_view_size(unsigned *width, unsigned *height)
{
    *width = *height = 0;
}

void top_view_show(const struct top_page *page)
{
}

int top_view_wait(int timeout_ms)
{
    return TOP_KEY_QUIT;
}

#endif /* VGPU_HAVE_CURSES */
