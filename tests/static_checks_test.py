#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks of this folder find what they are there for: each gets bad samples."""
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import contracts_check  # noqa: E402
import cppcheck_check  # noqa: E402
import layering_check  # noqa: E402
import messages_check  # noqa: E402
import names_check  # noqa: E402
import patience_check  # noqa: E402
import protocol_doc_check  # noqa: E402
import spdx_check  # noqa: E402
import tidy_check  # noqa: E402
import tree  # noqa: E402
import unit_tests_check  # noqa: E402
import width_check  # noqa: E402


class Sample(unittest.TestCase):
    """A small tree in a temporary folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as out:
            out.write(text)

    def run_main(self, check):
        """Exit status and output of a check on this tree."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = check.main(["check", self.root])
        return status, out.getvalue()


class Layering(Sample):
    def setUp(self):
        super().setUp()
        self.write("include/vgpu/p.h", "#include <stdint.h>\n")
        self.write("core/core.h", '#include "vgpu/p.h"\n')
        self.write("core/core.c", '#include "core/core.h"\n#include <string.h>\n')

    def expect(self, path, text, message):
        self.write(path, text)
        status, out = self.run_main(layering_check)
        self.assertEqual(status, 1, out)
        self.assertIn(path, out)
        self.assertIn(message, out)

    def test_good_tree(self):
        self.write("mediator/main.c", '#include "core/core.h"\n#include <unistd.h>\n')
        self.write("guest/lib/vgpu/vgpu.h", '#include "vgpu/p.h"\n')
        self.write("guest/client/main.c", '#include "vgpu/vgpu.h"\n')
        self.write("qemu/stub.c", '#include "qemu/osdep.h"\n#include "vgpu/p.h"\n')
        self.write("core/test_core.c", '#include <setjmp.h>\n#include "core/core.h"\n')
        self.assertEqual(self.run_main(layering_check)[0], 0)

    def test_upwards(self):
        self.write("mediator/loop.h", "")
        self.expect("core/a.c", '#include "mediator/loop.h"\n', "core must not include mediator")

    def test_upwards_to_a_header_that_is_not_there(self):
        self.expect("common/a.c", '#include "core/gone.h"\n', "common must not include core")

    def test_sideways(self):
        self.write("worker/backend.h", "")
        self.expect("mediator/a.c", '#include "worker/backend.h"\n', "must not include worker")

    def test_libvgpu_takes_contracts_only(self):
        self.write("common/frame.h", "")
        self.write("guest/client/a.c", '#include "common/frame.h"\n')
        self.assertEqual(self.run_main(layering_check)[0], 0)
        self.expect("guest/lib/a.c", '#include "common/frame.h"\n', "must not include common")
        self.expect("guest/lib/a.c", '#include "common/gone.h"\n', "must not include common")

    def test_library_and_client(self):
        self.write("guest/client/client.h", "")
        self.expect("guest/lib/a.c", '#include "../client/client.h"\n', "climbs out")

    def test_angle_brackets_are_no_way_round(self):
        self.write("store/db.h", "")
        self.expect("core/a.c", "#  include <store/db.h>\n", "core must not include store")

    def test_core_is_pure(self):
        self.expect("core/a.c", "#include <time.h>\n", "stay pure")

    def test_contracts_are_freestanding(self):
        self.expect("include/vgpu/q.h", "#include <stdio.h>\n", "stay pure")

    def test_the_key_to_all_parts(self):
        key = '#include "mediator/mediator.h"\n'
        self.write("mediator/mediator.h", "")
        for path in ("mediator/main.c", "mediator/effects.c", "mediator/control/a.c"):
            self.write(path, key)
        self.assertEqual(self.run_main(layering_check)[0], 0)
        self.expect("mediator/events.c", key, "main, effects and control only")

    def ring(self, names):
        """Each module's .c file includes the next one's header, the last one's the first's."""
        for name, following in zip(names, names[1:] + names[:1]):
            self.write(f"core/{name}.h", "")
            self.write(f"core/{name}.c", f'#include "core/{following}.h"\n')

    def test_three_may_know_each_other(self):
        self.ring(["a", "b", "c"])
        self.assertEqual(self.run_main(layering_check)[0], 0)

    def test_four_may_not(self):
        self.ring(["a", "b", "c", "d"])
        status, out = self.run_main(layering_check)
        self.assertEqual(status, 1, out)
        self.assertIn("a circle of 4 modules: core/a, core/b, core/c, core/d", out)

    def test_a_chain_is_no_circle(self):
        self.ring(["a", "b", "c", "d"])
        self.write("core/d.c", "")
        self.assertEqual(self.run_main(layering_check)[0], 0)

    def test_a_private_header_makes_one_module_of_its_files(self):
        self.ring(["a", "b", "c", "d"])
        self.write("core/x_internal.h", "")
        for name, following in zip("abcd", "bcda"):
            self.write(f"core/{name}.c",
                       f'#include "core/{following}.h"\n#include "core/x_internal.h"\n')
        self.assertEqual(self.run_main(layering_check)[0], 0)

    def test_empty_folder_is_no_success(self):
        with tempfile.TemporaryDirectory() as empty:
            self.root = empty
            self.assertEqual(self.run_main(layering_check)[0], 2)


class Messages(Sample):
    KINDS = '    [HEALTH_GPU] = {"gpu", true},\n'

    def setUp(self):
        super().setUp()
        self.exempt = messages_check.EXEMPT
        messages_check.EXEMPT = {}
        self.write("mediator/health/health.c", self.KINDS)
        self.write("docs/troubleshooting.md",
                   "| `gpu` | x |\n| the disk of … is\nfull, look | y |\n")

    def tearDown(self):
        messages_check.EXEMPT = self.exempt

    def expect(self, code, message, status=1):
        self.write("keeper/a.c", code)
        found, out = self.run_main(messages_check)
        self.assertEqual(found, status, out)
        self.assertIn(message, out)

    def test_a_message_that_is_there(self):
        self.expect('log_error("the disk of %s is "\n  "full, look", f("a)", 1));', "1 messages", 0)
        self.expect('log_warning("the disk of %" PRIu32 " is full, look", id);', "1 messages", 0)

    def test_a_message_that_is_not_there(self):
        self.expect('log_warning("the disk of %s burns", x);', "has no 'the disk of … burns'")
        self.expect('log_error("no %s", x);', "has no words to look for")

    def test_what_is_put_together_elsewhere(self):
        self.expect('log_error("%s: %d", x, y);', "0 messages", 0)

    def test_what_is_exempt_must_be_there(self):
        messages_check.EXEMPT = {"no %s": "why"}
        self.expect('log_error("no %s", x);', "1 messages", 0)
        self.expect("", "no program says 'no %s' any more")

    def test_each_way_to_say_it(self):
        for path, code in (("admin/a.c", 'admin_fail(admin, 1, "it burns: %s", x);'),
                           ("admin/b.c", 'toolstack_fail(self, "it burns");'),
                           ("store/a.c", 'db_error(db, -EIO, "it burns");'),
                           ("guest/lib/a.c", 'vgpu_set_error(v, E, "it burns");'),
                           ("guest/cuda/a.c", 'cuda_say("it burns");'),
                           ("qemu/a.c", 'error_setg(errp, "it burns");'),
                           ("sim/a.c", 'fprintf(stderr,\n"vgpu-sim: it burns\\n");'),
                           ("qemu/vgpu-qemu", 'x || die "it burns: $x"')):
            with self.subTest(path):
                self.write(path, code)
                self.expect("", f"{path}: docs/troubleshooting.md has no 'it burns")
                self.write(path, "")

    def test_command_lines_are_told_of_once(self):
        self.write("admin/options.c", 'admin_fail(admin, 2, "--x must be a letter");')
        self.expect("", "0 messages", 0)

    def test_kinds_of_health_problems(self):
        self.write("mediator/health/health.c",
                   self.KINDS + '    [HEALTH_FAN] = {"fan", false},\n')
        self.expect("", "no row for the health problem fan")
        self.write("mediator/health/health.c", "")
        self.expect("", "names no kinds of health problems any more")


class Spdx(Sample):
    GPL = "SPDX-License-Identifier: GPL-2.0-or-later"
    BSD = "SPDX-License-Identifier: BSD-3-Clause"

    def setUp(self):
        super().setUp()
        self.write("include/vgpu/p.h", f"/* {self.BSD} */\n")
        self.write("core/core.c", f"/* {self.GPL} */\n")
        self.write("scripts/run", f"#!/bin/sh\n# {self.GPL}\n")

    def test_good_tree(self):
        self.write("build/generated.c", "int x;\n")
        self.write("docs/notes.md", "no licence line needed\n")
        self.assertEqual(self.run_main(spdx_check)[0], 0)

    def test_missing(self):
        for path, text in (("core/a.c", "int x;\n"), ("scripts/b", "#!/bin/sh\necho\n"),
                           ("c/meson.build", "x = 1\n"), ("d/e.py", "import os\n"),
                           ("core/late.h", f"\n\n/* {self.GPL} */\n"), ("core/empty.c", "")):
            with self.subTest(path):
                self.write(path, text)
                status, out = self.run_main(spdx_check)
                self.assertEqual(status, 1)
                self.assertIn(f"{path}: line", out)

    def test_wrong_licence(self):
        for path, line in (("include/vgpu/a.h", self.GPL), ("guest/lib/a.c", self.GPL),
                           ("core/a.c", self.BSD), ("guest/client/a.c", self.BSD),
                           ("worker/a.c", "SPDX-License-Identifier: MIT")):
            with self.subTest(path):
                self.write(path, f"/* {line} */\n")
                status, out = self.run_main(spdx_check)
                self.assertEqual(status, 1)
                self.assertIn(f"{path}: ", out)


class Contracts(Sample):
    def check(self, text):
        self.write("include/vgpu/vgpu_x.h", text)
        return self.run_main(contracts_check)

    def test_headers_that_do_not_compile_everywhere(self):
        kernel = ("#ifdef __KERNEL__\n#include <linux/types.h>\n#else\n#include <stdint.h>\n"
                  "#endif\n")
        guard = "#ifndef X_H\n#define X_H\n%s#endif\n"
        self.assertEqual(self.check(guard % (kernel + "struct x { uint32_t a; };\n"))[0], 0)
        for text, way in ((guard % "#include <stdint.h>\n", "kernel"),
                          (guard % "#include <stdio.h>\nstruct x { FILE *f; };\n", "kernel"),
                          (guard % (kernel + "struct x { int class; };\n"), "C++"),
                          (guard % "struct x { uint32_t a; };\n", "C99"),
                          (kernel + "struct x { uint32_t a; };\n", "C99")):
            status, out = self.check(text)
            self.assertEqual(status, 1, text)
            self.assertIn(way, out)


class ProtocolDoc(Sample):
    HEADER = ("#define VGPU_REG_STATUS 0x004u /* RO */\n"
              "#define VGPU_REQUEST_BUFFER 0x040u\n"
              "enum vgpu_error {\n    VGPU_ERR_NONE = 0x00,\n    VGPU_ERR_TIMEOUT = 0x04, /* x */\n"
              "    VGPU_ERR_COUNT\n};\n")
    DOC = ("| 0x004 | `STATUS` |\n| 0x040 | `VGPU_REQUEST_BUFFER` |\n"
           "| 0x00 | `NONE` |\n| 0x04 | `TIMEOUT` |\n")

    def check(self, header, doc):
        self.write("include/vgpu/vgpu_protocol.h", header)
        self.write("docs/protocol.md", doc)
        return self.run_main(protocol_doc_check)

    def test_complete(self):
        status, out = self.check(self.HEADER, self.DOC)
        self.assertEqual(status, 0, out)

    def test_constant_missing(self):
        status, out = self.check(self.HEADER.replace("};", "    VGPU_ERR_NEW = 0x0F,\n};"),
                                 self.DOC)
        self.assertEqual(status, 1)
        self.assertIn("VGPU_ERR_NEW", out)

    def test_operation_missing(self):
        header = self.HEADER + '#define VGPU_OPERATIONS(X) \\\n    X(NOP, 0x00, "nop", 0)\n'
        self.assertEqual(self.check(header, self.DOC + "| 0x00 | `NOP` |\n")[0], 0)
        for doc in (self.DOC, self.DOC + "| 0x01 | `NOP` |\n"):
            status, out = self.check(header, doc)
            self.assertEqual(status, 1)
            self.assertIn("VGPU_OP_NOP", out)

    def test_value_differs(self):
        status, out = self.check(self.HEADER, self.DOC.replace("0x04 | `TIMEOUT`",
                                                               "0x05 | `TIMEOUT`"))
        self.assertEqual(status, 1)
        self.assertIn("VGPU_ERR_TIMEOUT", out)

    def test_hex_example(self):
        example = ("55 50 47 56  05 00 00 00  07 00 00 00  2a 00 00 00   magic\n"
                   "41 01 00 00  20 00 00 00\n"
                   "00 00 01 00  0a 00 00 00  00 00 00 00  20 00 00 00\n"
                   "00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00\n")
        for text, status in ((example, 0),
                             (example.replace("41 01 00 00  20", "41 01 00 00  21"), 1),
                             (example.replace("55 50", "56 50"), 1)):
            self.assertEqual(self.check(self.HEADER, self.DOC + f"```hex\n{text}```\n")[0], status)

    def test_no_constants_is_no_success(self):
        self.assertEqual(self.check("/* nothing */\n", self.DOC)[0], 2)


class Names(Sample):
    def setUp(self):
        super().setUp()
        self.write("core/base/one.c", "/* here is base/one.c, called one */\n")
        self.write("scripts/check", "#!/bin/sh\n")

    def wrong(self, path, text):
        self.write(path, text)
        status, out = self.run_main(names_check)
        self.assertEqual(status, 1 if f"{path}:" in out else 0, out)
        return [line.rsplit("no file ", 1)[1].split(" ")[0] for line in out.splitlines()[:-1]]

    def test_there(self):
        for path, text in (("docs/a.md", "`core/base/one.c` [one](../core/base/one.c) scripts"),
                           ("core/base/b.h", "/* one.c; core/base; fuzz_NAME.c */\n"),
                           ("a/b.py", 'x = "gone.c"  # scripts/check\n'),
                           ("core/c.c", 'const char *name = "gone.h";\n'),
                           ("core/d.c", "/* /usr/include/gone.h, <gone.h>, $X/gone.sh */\n"),
                           ("core/e.c", "/* core/x*.c */\n")):
            with self.subTest(path):
                self.assertEqual(self.wrong(path, text), [])

    def test_gone(self):
        for path, text, name in (("docs/a.md", "In `core/two.c`", "core/two.c"),
                                 ("docs/b.md", "In [it](base/one.h)", "base/one.h"),
                                 ("core/c.c", "int x; /* see two.h */\n", "two.h"),
                                 ("a/b.py", "# scripts/gone\n", "scripts/gone"),
                                 ("a/c.sh", "#!/bin/sh\n# core/old.c does\n", "core/old.c")):
            with self.subTest(path):
                found = self.wrong(path, text)
                self.assertIn(name, found)
                self.assertEqual(set(found), {name})
                os.unlink(os.path.join(self.root, path))

    def test_tests_of_documents(self):
        self.write("tests/a.py", "def test_there():\n")
        self.write("docs/a.md", "`tests/a.py`, `test_there`,\nand `tests/a.py`,\n`test_the`")
        status, out = self.run_main(names_check)
        self.assertEqual(status, 1, out)
        self.assertIn("docs/a.md:2: tests/a.py has no test_the\n", out)
        self.assertNotIn("docs/a.md:1", out)

    def test_options_of_documents(self):
        self.write("admin/options.c", 'const char *name = "vm-name"; /* --shown */\n')
        self.write("docs/a.md", "`--vm-name=X`, --shown, a--b,\n`--vm` and pkg-config --libs")
        status, out = self.run_main(names_check)
        self.assertEqual((status, out.splitlines()[:-1]),
                         (1, ["docs/a.md:2: nothing here has an option --vm"]), out)


class Width(Sample):
    WIDE = "word " * 21

    def violations(self, path, text):
        self.write(path, text)
        status, out = self.run_main(width_check)
        self.assertEqual(status, 1 if path in out else 0, out)
        os.unlink(os.path.join(self.root, path))
        return out.count(f"{path}:")

    def setUp(self):
        super().setUp()
        self.write("core/good.c", "/* " + "x" * 94 + " */\n")

    def test_wide(self):
        for path, text in (("core/a.c", f"int x;\n/* {self.WIDE}*/\n"),
                           ("a/b.py", f"# {self.WIDE}"),
                           ("scripts/run", f"#!/bin/sh\n# {self.WIDE}\n"),
                           ("docs/a.md", f"{self.WIDE}\n"),
                           ("docs/b.md", f"```\n```\n{self.WIDE}\n"),
                           ("docs/c.md", f"- {self.WIDE}\n  {self.WIDE}")):
            with self.subTest(path):
                self.assertEqual(self.violations(path, text), text.count(self.WIDE))

    def test_left_out(self):
        for path, text in (("docs/a.md", f"| {self.WIDE} |\n"), ("docs/b.md", f"    {self.WIDE}\n"),
                           ("docs/c.md", f"```sh\n{self.WIDE}\n```\n"),
                           ("docs/d.md", f"`{self.WIDE}`\n"), ("a/b.py", "#" * 200),
                           ("a/data", self.WIDE), ("core/b.c", "x" * 100)):
            with self.subTest(path):
                self.assertEqual(self.violations(path, text), 0)

    def test_nothing_there_is_no_success(self):
        os.unlink(os.path.join(self.root, "core/good.c"))
        self.assertEqual(self.run_main(width_check)[0], 2)


class Patience(Sample):
    def test_waits(self):
        short = ["device.settimeout(30)", "def f(a, timeout=5):", "x = wait(limit_s=1.5, b=2)",
                 "WAIT_S = 30", "process.wait(1)", "thread.join(10)"]
        fine = ["device.settimeout(60)", "def f(timeout=PATIENCE_S):", "done.wait(0.3)",
                "thread.join(600)", "process.wait(1)  # short: it must not end", "SIZE_S = 3",
                'run("--timeout=1")']
        self.write("tests/protocol/good.py", "\n".join(fine))
        self.assertEqual(self.run_main(patience_check), (0, "1 files, 0 violations\n"))
        self.write("tests/vm/bad.py", "\n".join(short))
        status, out = self.run_main(patience_check)
        self.assertEqual(status, 1)
        self.assertEqual(out.count("tests/vm/bad.py:"), len(short))


class UnitTests(Sample):
    CODE = "int x;\n" * 100
    TEST = "#include <cmocka.h>\n"

    def setUp(self):
        super().setUp()
        self.write("mediator/a.c", self.CODE)
        self.write("mediator/test_a.c", self.TEST + "int y;\n" * 39)
        self.write("admin/a.c", self.CODE)
        self.write("admin/test_a.c", '#include "admin/test_support.h"\n' + "int y;\n" * 39)

    def test_enough(self):
        self.assertEqual(self.run_main(unit_tests_check), (0, "4 files, 0 violations\n"))

    def test_too_few(self):
        self.write("admin/b.c", "int z;\n")
        status, out = self.run_main(unit_tests_check)
        self.assertEqual(status, 1)
        self.assertIn("admin: 40 lines of unit tests for 101 of code: 39.6 %, 40 %", out)
        self.assertNotIn("mediator:", out)

    def test_what_does_not_count(self):
        """Neither comments and blank lines, nor a test_*.c that is none, nor a header."""
        self.write("mediator/test_a.c", self.TEST + "int y;\n" * 38 + "/* one\ntwo */\n\n")
        self.assertIn("mediator: 39 lines", self.run_main(unit_tests_check)[1])
        self.write("mediator/test_a.h", "int y;\n")
        self.assertIn("mediator: 39 lines", self.run_main(unit_tests_check)[1])
        self.write("mediator/test_b.c", "int y;\n")
        self.assertIn("mediator: 39 lines of unit tests for 101 ",
                      self.run_main(unit_tests_check)[1])

    def test_nothing_there_is_no_success(self):
        for path in ("mediator/a.c", "mediator/test_a.c", "admin/a.c", "admin/test_a.c"):
            os.unlink(os.path.join(self.root, path))
        self.assertEqual(self.run_main(unit_tests_check)[0], 2)


class Compiled(Sample):
    """A small tree with a build that compiles some of its files."""

    def register(self, *paths):
        """The files that the build compiles, named as meson names them."""
        build = os.path.join(self.root, "build")
        self.write("build/compile_commands.json", json.dumps([
            {"directory": build, "file": f"../{path}", "command": f"cc -I.. -c ../{path}"}
            for path in paths]))


@unittest.skipUnless(tree.find_clang_tool("clang-tidy", tidy_check.VERSION), "no clang-tidy")
class Tidy(Compiled):
    GOOD = "int first(const int *p);\nint first(const int *p)\n{\n    return p[0];\n}\n"
    BAD = ("int first(void);\nint first(void)\n{\n    const int *p = (void *)0;\n\n"
           "    return p[0];\n}\n")

    def setUp(self):
        super().setUp()
        self.write(".clang-tidy", "Checks: '-*,clang-analyzer-*'\nHeaderFilterRegex: '.*'\n")
        self.write("core/a.c", self.GOOD)
        self.register("core/a.c")

    def expect(self, status, last, *parts):
        got, out = self.run_main(tidy_check)
        self.assertEqual((got, out.splitlines()[-1]), (status, last), out)
        for part in parts:
            self.assertIn(part, out)

    def test_clean_is_remembered_and_wrong_is_not(self):
        self.expect(0, "1 files, 1 new or changed, 0 violations")
        self.expect(0, "1 files, 0 new or changed, 0 violations")
        self.write("core/a.c", self.BAD)
        for _ in range(2):
            self.expect(1, "1 files, 1 new or changed, 1 violations", "core/a.c:6: ",
                        "[clang-analyzer-core.NullDereference]")

    def test_looks_again_after_a_header_or_the_checks_change(self):
        self.write("include/vgpu/p.h", "#define ADDRESS p\n")
        self.write("core/b.h", '#include "vgpu/p.h"\n')
        self.write("core/a.c", '#include "core/b.h"\n' + self.GOOD.replace("p[0]", "ADDRESS[0]"))
        self.register("core/a.c")
        command = self.root + "/build/compile_commands.json"
        with open(command, encoding="utf-8") as was:
            text = was.read().replace("-I..", "-I.. -I../include")
        self.write("build/compile_commands.json", text)
        self.expect(0, "1 files, 1 new or changed, 0 violations")
        self.write("include/vgpu/p.h", "#define ADDRESS ((const int *)0)\n")
        self.expect(1, "1 files, 1 new or changed, 1 violations", "core/a.c:5: ")
        self.write(".clang-tidy", "Checks: '-*,performance-*'\n")
        self.expect(0, "1 files, 1 new or changed, 0 violations")

    def test_headers_are_looked_at_and_tests_are_not(self):
        self.write("core/a.h", "static inline int one(void)\n{\n    int *p = 0;\n"
                   "    return *p;\n}\n")
        self.write("core/a.c", '#include "core/a.h"\nint two(void);\nint two(void)\n{\n'
                   "    return one();\n}\n")
        self.write("core/test_a.c", self.BAD)
        self.register("core/a.c", "core/test_a.c")
        self.expect(1, "1 files, 1 new or changed, 1 violations", "core/a.h:4: ")

    def test_what_does_not_compile_is_no_success(self):
        self.write("core/a.c", "int first(;\n")
        self.assertEqual(self.run_main(tidy_check)[0], 1)

    def test_nothing_to_look_at_is_no_success(self):
        self.register()
        self.assertEqual(self.run_main(tidy_check)[0], 2)


@unittest.skipUnless(shutil.which("cppcheck"), "no cppcheck")
class Cppcheck(Compiled):
    GOOD = "int last(const int p[4])\n{\n    return p[3];\n}\n"
    BAD = "int last(void)\n{\n    const int p[4] = {0};\n\n    return p[4];\n}\n"

    def setUp(self):
        super().setUp()
        self.write(".cppcheck", "# a reason\nunusedStructMember\n")
        self.write("core/a.c", self.GOOD)
        self.register("core/a.c")

    def expect(self, status, last, *parts):
        got, out = self.run_main(cppcheck_check)
        self.assertEqual((got, out.splitlines()[-1]), (status, last), out)
        for part in parts:
            self.assertIn(part, out)

    def test_looks_again_after_a_change(self):
        self.expect(0, "1 files, 0 violations")
        self.write("core/a.c", self.BAD)
        for _ in range(2):
            self.expect(1, "1 files, 1 violations", "core/a.c:5: ", "[arrayIndexOutOfBounds]")

    def test_a_place_or_a_check_may_be_left_out(self):
        reason = "    /* cppcheck-suppress arrayIndexOutOfBounds; a sample */\n"
        self.write("core/a.c", self.BAD.replace("    return", reason + "    return"))
        self.expect(0, "1 files, 0 violations")
        self.write("core/a.c", self.BAD)
        self.write(".cppcheck", "# a reason\narrayIndexOutOfBounds\n")
        self.expect(0, "1 files, 0 violations")

    def test_lists_of_sys_queue_are_no_syntax_error(self):
        self.write("core/a.c", "#include <sys/queue.h>\n"
                   "TAILQ_HEAD(all, one);\nstruct one {\n    TAILQ_ENTRY(one) link;\n};\n" +
                   self.BAD)
        self.expect(1, "1 files, 1 violations", "core/a.c:10: ")

    def test_what_is_wrong_in_dot_cppcheck_is_no_success(self):
        self.write(".cppcheck", "#\n")
        self.assertEqual(self.run_main(cppcheck_check)[0], 1)

    def test_nothing_to_look_at_is_no_success(self):
        self.register()
        self.assertEqual(self.run_main(cppcheck_check)[0], 2)


if __name__ == "__main__":
    unittest.main()
