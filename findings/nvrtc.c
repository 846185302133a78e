/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For findings about NVRTC, which compiles CUDA C in a program's own process:
 *   nvrtc FOLDER [--header NAME FILE] [OPTION...] < SOURCE
 * prints the status of the compilation by its name and writes FOLDER/ptx and FOLDER/log, what
 * nvrtcGetPTX and nvrtcGetProgramLog give after it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *nvrtc_program;
int nvrtcCreateProgram(nvrtc_program *, const char *source, const char *name, int headers,
                       const char *const *texts, const char *const *names);
int nvrtcCompileProgram(nvrtc_program, int options, const char *const *);
int nvrtcGetPTXSize(nvrtc_program, size_t *);
int nvrtcGetPTX(nvrtc_program, char *);
int nvrtcGetProgramLogSize(nvrtc_program, size_t *);
int nvrtcGetProgramLog(nvrtc_program, char *);
const char *nvrtcGetErrorString(int);

static char *read_all(FILE *file)
{
    char *text = calloc(1, 1 << 20);

    if (!text || fread(text, 1, (1 << 20) - 1, file) == 0)
        exit(2);
    return text;
}

static void write_all(const char *folder, const char *name, const char *text)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        exit(2);
}

static char *buffer(int rc, size_t bytes)
{
    char *text = calloc(1, bytes + 1);

    if (rc || !text) {
        fprintf(stderr, "nvrtc: %s\n", nvrtcGetErrorString(rc));
        exit(2);
    }
    return text;
}

int main(int argc, char **argv)
{
    const char *names[1], *texts[1];
    int headers = 0, first = 2, rc;
    nvrtc_program program;
    char *ptx, *log;
    size_t bytes;

    if (argc > 4 && !strcmp(argv[2], "--header")) {
        FILE *file = fopen(argv[4], "r");

        if (!file)
            exit(2);
        names[0] = argv[3];
        texts[0] = read_all(file);
        headers = 1;
        first = 5;
    }
    if (argc < 2 || nvrtcCreateProgram(&program, read_all(stdin), "in.cu", headers, texts, names))
        exit(2);
    rc = nvrtcCompileProgram(program, argc - first, (const char *const *)argv + first);
    puts(nvrtcGetErrorString(rc));
    rc = nvrtcGetProgramLogSize(program, &bytes);
    log = buffer(rc, bytes);
    rc = nvrtcGetProgramLog(program, log);
    if (!rc)
        rc = nvrtcGetPTXSize(program, &bytes);
    ptx = buffer(rc, bytes);
    rc = nvrtcGetPTX(program, ptx);
    buffer(rc, 0);
    write_all(argv[1], "log", log);
    write_all(argv[1], "ptx", ptx);
    return 0;
}
