#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes code and documents from the tables of front ends by hand (frontends.py).

    generate_frontends.py WHAT-LIBRARY OUTPUT

WHAT: exports, hand, versions (the library), prototypes (programs), coverage
(docs/LIBRARY-coverage.md).
"""
import sys

import frontends
import generate

HEAD = generate.HEAD.replace("generate.py", "generate_frontends.py")


def declaration(function, library):
    handle = frontends.LIBRARIES[library]["handle"]
    kind = {"size_t": "size_t ", "unsigned": "unsigned ", "void": "void ",
            "const char*": "const char *"}.get(function.returns.replace(" *", "*"), "int ")
    params = ", ".join(frontends.plain_type(k, handle) + n for k, n in function.arguments)
    return f"{kind}{function.name}({params or 'void'})"


def exports(library):
    row = frontends.LIBRARIES[library]
    value, text = row["refusal"]
    lines = [HEAD, f'#include "{library}_hand.h"\n#include "guest/frontends/refuse.h"\n']
    for function in frontends.functions(library):
        if function.name not in row["built"]:
            kind = "REFUSED_TEXT" if function.returns.startswith("const char") else "REFUSED"
            lines.append(f'{kind}({function.name}, "{row["file"]}", {value}, "{text}")')
    return lines + (version_functions(library, row) if "version" in row else [])


def version_functions(library, row):
    """Programs compare versions before they ask for anything else."""
    major, minor, patch = row["version"]
    lines = []
    for function in frontends.functions(library):
        if not function.name.endswith(("GetVersion", "GetProperty")):
            continue
        name = function.arguments[-1][1]
        value = f"type == 0 ? {major} : type == 1 ? {minor} : {patch}"
        if function.name.endswith("GetVersion"):
            value = str(major * 1000 + minor * 100 + patch)
        unused = "".join(f"    (void){n};\n" for _, n in function.arguments if n == "handle")
        lines.append(f"{declaration(function, library)}\n{{\n{unused}    *{name} = {value};\n"
                     "    return 0;\n}\n")
    return lines


def declarations(library, name, prefix, only_built):
    lines = [HEAD, f"#ifndef {name}\n#define {name}\n", '#include "cuda/driver_types.h"\n',
             "struct blas_handle;\nstruct dnn_handle;\n"]
    built = frontends.LIBRARIES[library]["built"]
    lines += [f"{prefix}{declaration(f, library)};" for f in frontends.functions(library)
              if f.name in built or not only_built]
    return [*lines, "\n#endif"]


def hand(library):
    return declarations(library, f"{library.upper()}_HAND_H",
                        '__attribute__((visibility("default"))) ', True)


def prototypes(library):
    return declarations(library, f"{library.upper()}_PROTOTYPES_H", "", True)


def versions(library):
    return ["/* Made by cuda/generate_frontends.py. */",
            f"{frontends.LIBRARIES[library]['node']} {{", "global:",
            *(f"    {f.name};" for f in frontends.functions(library)), "local:\n    *;\n};"]


COVERAGE = """<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# Which functions of {title} are built

Made by `cuda/generate_frontends.py coverage-{library}` from the tables in `cuda/`;
[cudart.md](cudart.md) says how the front end works. Of {all} functions of NVIDIA's header
**{built} are built**. The rest is exported, answers `{text}` ({value}), and says
its name once on stderr.

Built:

{names}

Refused:

{rest}
"""


def coverage(library):
    row = frontends.LIBRARIES[library]
    names = [f.name for f in frontends.functions(library)]
    value, text = row["refusal"]
    return [COVERAGE.format(
        title=row["title"], library=library, all=len(names), built=len(row["built"]), text=text,
        value=value, names="\n".join(generate.wrap(sorted(row["built"]))),
        rest="\n".join(generate.wrap(n for n in names if n not in row["built"])))
            .rstrip("\n")]


MAKERS = {f"{f.__name__}-{library}": (lambda f=f, library=library: f(library))
          for f in (exports, hand, prototypes, versions, coverage)
          for library in frontends.LIBRARIES}

if __name__ == "__main__":
    sys.exit(generate.main(sys.argv, MAKERS, __doc__))
