#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes code and documents from the table of the CUDA runtime (runtime.py).

    generate_runtime.py WHAT OUTPUT

WHAT: driver (what is called of the driver), exports, hand (what is written by hand), prototypes
(what programs call), errors (texts), versions (the linker's version script), coverage
(docs/cudart-coverage.md).
"""
import re
import sys

import driver
import generate
import runtime

HEAD = generate.HEAD.replace("generate.py", "generate_runtime.py")
DRIVER_CALL = re.compile(r"\bcu[A-Z]\w*(?=\()")
ENTRIES = {entry.name: entry for entry in driver.entries()}


def threaded(name):
    """The driver's function has a form for per-thread default streams: its suffix, or None."""
    return next((s for s in ENTRIES[name].variants if s), None)


def driver_functions():
    found = set(runtime.USES)
    for _, call in runtime.CALLS.values():
        found.add(DRIVER_CALL.match(call).group(0))
    return sorted(found)


def driver_parameters(name):
    if name in driver.HAND or name in driver.AUTO_BY_NAME:
        return generate.parameters(ENTRIES[name])[0]
    return runtime.PARAMETERS[name]


def driver_header():
    lines = [HEAD, "#ifndef RUNTIME_DRIVER_H\n#define RUNTIME_DRIVER_H\n",
             '#include "cuda/runtime_types.h"\n',
             "/* _pt: the form for per-thread default streams. */", "struct rt_driver {"]
    rows = []
    for name in driver_functions():
        text = driver_parameters(name)
        lines.append(f"    CUresult (*{name})({text});")
        rows.append((name, name))
        if threaded(name):
            lines.append(f"    CUresult (*{name}_pt)({text});")
            rows.append((f"{name}_pt", name + threaded(name)))
    lines.append("};\n\n#define RT_DRIVER_FUNCTIONS(X) \\")
    lines += [f'    X({member}, "{symbol}") \\' for member, symbol in rows]
    lines.append("    /* end */\n\n#endif")
    return lines


def names_of(params):
    """The arguments' names, of a list of C parameters."""
    return [re.search(r"(\w+)$", part.strip()).group(1)
            for part in params.split(",") if part.strip() != "void"]


def takes_mode(function):
    return len(function.suffixes) > 1


def body(function, suffix):
    """What the exported function does, as one expression, and what it makes sure of first."""
    if function.name in runtime.CALLS:
        needs, call = runtime.CALLS[function.name]
        name = DRIVER_CALL.match(call).group(0)
        form = "_pt" if suffix and threaded(name) else ""
        return needs, f"rt_driver.{call.replace(name, name + form, 1)}"
    names = names_of(function.params) + (["1" if suffix else "0"] if takes_mode(function) else [])
    return runtime.HAND[function.name], f"hand_{function.name}({', '.join(names)})"


def exports():
    lines = [HEAD, '#include "cudart_hand.h"\n#include "guest/cudart/internal.h"\n']
    refused = 0
    for function in runtime.functions():
        if function.name in runtime.OWN:
            continue
        end = "rt_end_query" if function.name in runtime.NOT_KEPT else "rt_end"
        for suffix, symbol in zip(function.suffixes, function.symbols):
            if not function.built:
                lines.append(f"RT_EXPORT cudaError_t {symbol}(void);\n"
                             f"cudaError_t {symbol}(void)\n{{\n"
                             f'    return rt_refuse("{symbol}", {refused});\n}}\n')
                refused += 1
                continue
            needs, call = body(function, suffix)
            lines.append(f"RT_EXPORT cudaError_t {symbol}({function.params});\n"
                         f"cudaError_t {symbol}({function.params})\n{{\n"
                         f"    cudaError_t error = rt_begin({needs});\n\n"
                         f"    return {end}(error ? error : {call});\n}}\n")
    return lines


def hand():
    lines = [HEAD, "#ifndef CUDART_HAND_H\n#define CUDART_HAND_H\n",
             '#include "cuda/runtime_types.h"\n',
             "/* NOLINTBEGIN(bugprone-reserved-identifier): nvcc's code calls them so */"]
    for function in runtime.functions():
        if function.name in runtime.HAND:
            text = f"{function.params}, int mode" if takes_mode(function) else function.params
            text = text.replace("void, int mode", "int mode")
            lines.append(f"cudaError_t hand_{function.name}({text});")
        elif function.name in runtime.OWN:
            kind = runtime.OWN[function.name]
            lines.append('__attribute__((visibility("default"))) '
                         f"{kind}{'' if kind.endswith('*') else ' '}"
                         f"{function.name}({function.params});")
    refused = sum(len(f.suffixes) for f in runtime.functions() if not f.built)
    lines.append("/* NOLINTEND(bugprone-reserved-identifier) */\n")
    lines.append(f"#define RT_REFUSED_COUNT {refused}\n"
                 f"#define RT_VERSION {runtime.VERSION}\n\n#endif")
    return lines


def prototypes():
    """What a program calls, without NVIDIA's headers; of what is not built, only the name."""
    lines = [HEAD, "#ifndef CUDART_PROTOTYPES_H\n#define CUDART_PROTOTYPES_H\n",
             '#include "cuda/runtime_types.h"\n']
    for function in runtime.functions():
        for symbol in function.symbols if function.built else ():
            kind = runtime.OWN.get(function.name, "cudaError_t")
            lines.append(f"{kind}{'' if kind.endswith('*') else ' '}{symbol}({function.params});")
    return [*lines, "\n#endif"]


def errors():
    lines = [HEAD, "#define RT_ERRORS(X) \\"]
    lines += [f'    X({n}, "{name}", "{text}") \\' for n, name, text in runtime.errors()]
    lines.append("    /* end */")
    return lines


def versions():
    symbols = sorted(s for f in runtime.functions() for s in f.symbols)
    return ["/* Made by cuda/generate_runtime.py. */", f"{runtime.NODE} {{", "global:",
            *(f"    {symbol};" for symbol in symbols), "local:\n    *;\n};"]


COVERAGE = """<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# Which functions of the CUDA runtime are built

Made by `cuda/generate_runtime.py coverage` from the table in `cuda/`; [cudart.md](cudart.md) says
how the library works. Of {functions} functions that `libcudart.so.13` exports ({symbols} symbols
with their `_ptsz` and `_ptds` forms), **{built} are built** ({built_symbols} symbols). The rest is
exported, answers `cudaErrorNotSupported` (801), and says its name once on stderr.

What a built function needs of the driver must be built there as well
([cuda-coverage.md](cuda-coverage.md)): on our own `libcuda.so.1` the functions for graphs, capture
and callbacks give what the driver's function gives.

## Built

{built_list}

## Not built

{missing}
"""


def coverage():
    functions = runtime.functions()
    built = [f for f in functions if f.built]
    return [COVERAGE.format(
        functions=len(functions), symbols=sum(len(f.suffixes) for f in functions),
        built=len(built), built_symbols=sum(len(f.suffixes) for f in built),
        built_list="\n".join(generate.wrap([f.name for f in built])),
        missing="\n".join(generate.wrap([f.name for f in functions if not f.built])))
        .rstrip("\n")]


MAKERS = {"driver": driver_header, **{f.__name__: f for f in (exports, hand, prototypes, errors,
                                                              versions, coverage)}}

if __name__ == "__main__":
    sys.exit(generate.main(sys.argv, MAKERS, __doc__))
