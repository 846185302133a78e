#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes code and documents from the table of the cuBLAS front end (cublas.py).

    generate_cublas.py WHAT OUTPUT

WHAT: ids (numbers of calls, both sides), exports, hand, versions (the library), decoders (the
worker), prototypes (programs), coverage (docs/cublas-coverage.md).
"""
import sys

import cublas
import generate

HEAD = generate.HEAD.replace("generate.py", "generate_cublas.py")
FUNCTIONS = {function.name: function for function in cublas.functions()}


def plain(params):
    """Parameters with types that this code has: all that is not passed by address is a number."""
    return ", ".join(f"{plain_type(kind)}{name}" for kind, name in params)


def plain_type(kind):
    if "*" in kind:
        if "cublasHandle_t" in kind:
            return "struct blas_handle **"
        return ("const " if kind.startswith("const") else "") + {
            "int": "int *", "cudaStream_t": "CUstream *", "size_t": "size_t *",
            "cublasPointerMode_t": "int *", "cublasMath_t": "int *", "cublasAtomicsMode_t": "int *",
            "cublasLogCallback": "void **", "char": "char *"}.get(
                kind.replace("const ", "").rstrip("* "), "void *")
    return {"cublasHandle_t": "struct blas_handle *", "cudaStream_t": "CUstream ",
            "long long int": "long long ", "int64_t": "int64_t ", "size_t": "size_t ",
            "cublasLogCallback": "void *"}.get(kind, "int ")


def declaration(name):
    kind = cublas.RETURNS.get(name, "int")
    params = FUNCTIONS[name].params
    text = "void" if params == "void" else plain(FUNCTIONS[name].arguments)
    return f"{kind}{'' if kind.endswith('*') else ' '}{name}({text})"


def ids():
    lines = [HEAD, "#ifndef CUBLAS_IDS_H\n#define CUBLAS_IDS_H\n", "enum {"]
    lines += [f"    BLAS_{name} = {number}," for number, name, _ in cublas.CALLS]
    last = max(row[0] for row in cublas.CALLS)
    return [*lines, f"    BLAS_CALLS_END = {last + 1},\n}};\n\n#endif"]


def pair(argument, role, *size):
    if role == "info":
        return f"    call.info = {argument};"
    flags = {"in": "BLAS_IN", "out": "BLAS_OUT", "inout": "BLAS_IN | BLAS_OUT"}[role]
    return f"    blas_value(&call, (void *){argument}, {size[0]}, {flags});"


def exports():
    lines = [HEAD, '#include "cublas_hand.h"\n#include "guest/frontends/blas_words.h"\n']
    ranges = {name: sizes for _, name, sizes in cublas.CALLS}
    wide = "\n" + " " * 24
    for name, function in FUNCTIONS.items():
        if name in ranges:
            lines.append(f"BLAS_EXPORT {declaration(name)};\n{declaration(name)}\n{{\n"
                         "    struct blas_call call;\n"
                         f"    int status = blas_begin(&call, handle, BLAS_{name});\n\n"
                         "    if (status) {\n        return status;\n    }")
            for kind, argument in function.arguments[1:]:
                size = ranges[name].get(argument)
                if isinstance(size, tuple):
                    lines.append(pair(argument, *size))
                elif argument in cublas.SCALARS:
                    lines.append(f"    blas_scalar(&call, {argument}, {size});")
                elif "*" in kind:
                    lines.append(f"    blas_address(&call, {argument});")
                else:
                    lines.append(f"    blas_number(&call, {argument});")
            lines.append("    return blas_end(&call);\n}\n")
        elif name not in cublas.LOCAL:
            kind = cublas.RETURNS.get(name, "int")
            refusal = f'frontend_refuse("libcublas", "{name}", BLAS_NOT_SUPPORTED,'
            refusal += f"{wide}\"CUBLAS_STATUS_NOT_SUPPORTED\", &said)"
            lines.append(f"BLAS_EXPORT {kind} {name}(void);\n{kind} {name}(void)\n{{\n"
                         "    static bool said;\n\n"
                         f"    {'(void)' if kind == 'void' else 'return '}{refusal};\n}}\n")
    return lines


def hand():
    lines = [HEAD, "#ifndef CUBLAS_HAND_H\n#define CUBLAS_HAND_H\n",
             '#include "cuda/driver_types.h"\n', "struct blas_handle;\n"]
    lines += [f'__attribute__((visibility("default"))) {declaration(name)};'
              for name in FUNCTIONS if name in cublas.LOCAL]
    return [*lines, "\n#endif"]


def prototypes():
    lines = [HEAD, "#ifndef CUBLAS_PROTOTYPES_H\n#define CUBLAS_PROTOTYPES_H\n",
             '#include "cuda/driver_types.h"\n', "struct blas_handle;\n"]
    lines += [f"{declaration(name)};" for name, f in FUNCTIONS.items() if f.built]
    return [*lines, "\n#endif"]


def versions():
    return ["/* Made by cuda/generate_cublas.py. */", f"{cublas.NODE} {{", "global:",
            *(f"    {name};" for name in FUNCTIONS), "local:\n    *;\n};"]


def decoder(name, sizes):
    """Takes the words apart, checks what they say, calls the library."""
    lines = [f"static int run_{name}(struct blas_run *run)", "{"]
    checks, passed, types, at = [], [], [], 0
    for kind, argument in FUNCTIONS[name].arguments[1:]:
        size = sizes.get(argument)
        if size == cublas.INFO:
            types.append("int *")
            passed.append("&run->info")
            continue
        if isinstance(size, tuple):
            lines.append(f"    uint64_t {argument} = run->words[{at}];")
            checks.append(f"    blas_run_value(run, {argument}, {size[1]});")
            at += 1
            types.append("uint64_t")
        elif argument in cublas.SCALARS:
            checks.append(f"    const void *{argument} = "
                          f"blas_run_scalar(run, {at}, {sizes[argument]});\n")
            at += 2
            types.append("const void *")
        elif argument in sizes:
            lines.append(f"    uint64_t {argument} = run->words[{at}];")
            checks.append(f"    blas_run_range(run, {argument}, {sizes[argument]});")
            at += 1
            types.append("uint64_t")
        else:
            wide = "long long" if kind in ("long long int", "int64_t") else "int"
            lines.append(f"    {wide} {argument} = ({wide})run->words[{at}];")
            at += 1
            types.append(wide)
            if argument in cublas.CHOICES:
                checks.append(f"    blas_run_choice(run, {argument}, {cublas.CHOICES[argument]});")
            if argument == cublas.ALGORITHM:
                checks.append(f"    blas_run_algorithm(run, {argument});")
        passed.append(argument)
    declared = [c.rstrip("\n") for c in checks if c.startswith("    const")]
    lines += declared
    lines.append(f"    int (*function)(void *, {', '.join(types)}) = "
                 f"(void *)run->functions[BLAS_{name}];\n")
    lines += [c for c in checks if not c.startswith("    const")]
    lines.append("    if (run->status) {\n        return run->status;\n    }")
    lines.append(f"    return function(run->library_handle, {', '.join(passed)});\n}}\n")
    return lines, at


def decoders():
    lines = [HEAD, '#include "worker/libraries/blas_run.h"\n']
    words = {}
    for _, name, sizes in cublas.CALLS:
        made, words[name] = decoder(name, sizes)
        lines += made
    lines.append("const struct blas_entry blas_entries[BLAS_CALLS_END] = {")
    lines += [f'    [BLAS_{name}] = {{"{name}", run_{name}, {words[name]}}},'
              for _, name, _ in cublas.CALLS]
    return [*lines, "};"]


COVERAGE = """<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# Which functions of cuBLAS are built

Made by `cuda/generate_cublas.py coverage` from the table in `cuda/`; [cudart.md](cudart.md) says
how the front end works. Of {all} functions of NVIDIA's header **{built} are built**. The rest is
exported, answers `CUBLAS_STATUS_NOT_SUPPORTED` (15), and says its name once on stderr.

Made on the host's library: {calls}

Answered in the program: {local}
"""


def coverage():
    calls = generate.wrap([name for _, name, _ in cublas.CALLS])
    local = generate.wrap(sorted(cublas.LOCAL))
    return [COVERAGE.format(all=len(FUNCTIONS), built=sum(f.built for f in FUNCTIONS.values()),
                            calls="\n" + "\n".join(calls), local="\n" + "\n".join(local))
            .rstrip("\n")]


MAKERS = {f.__name__: f for f in (ids, exports, hand, prototypes, versions, decoders, coverage)}

if __name__ == "__main__":
    sys.exit(generate.main(sys.argv, MAKERS, __doc__))
