#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes code from the table of cuDNN's older interface (cudnn.py).

    generate_cudnn.py WHAT OUTPUT

WHAT: calls (the library), decoders (the worker).
"""
import sys

import cudnn
import frontends
import generate
import generate_frontends

HEAD = generate.HEAD.replace("generate.py", "generate_cudnn.py")
TYPES = {"tensor": "void *", "activation": "void *", "real": "double ", "size": "size_t ",
         "address": "uint64_t ", "factor": "const void *", "number": "int ",
         "answer": "size_t *"}


def calls():
    lines = [HEAD, '#include "cudnn_hand.h"\n#include "guest/frontends/cudnn_old.h"\n']
    by_name = {f.name: f for f in frontends.functions("cudnn")}
    for number, name, arguments in cudnn.functions():
        lines.append(f"{generate_frontends.declaration(by_name[name], 'cudnn')}\n{{\n"
                     "    struct dnn_old call;\n"
                     f"    int status = dnn_old_begin(&call, handle, {number});\n\n"
                     "    if (status) {\n        return status;\n    }")
        lines += [f"    dnn_old_{kind}(&call, {argument});"
                  for kind, argument in arguments if kind != "answer"]
        end = f"dnn_old_ask(&call, {arguments[-1][1]})" if cudnn.is_question(arguments) \
            else "dnn_old_end(&call)"
        lines.append(f"    return {end};\n}}\n")
    return lines


def decoders():
    lines = [HEAD, '#include "worker/libraries/dnn_old.h"\n']
    for number, name, arguments in cudnn.functions():
        types = ", ".join(["void *", *(TYPES[kind].strip() for kind, _ in arguments)])
        lines.append(f"static int run_{number}(struct dnn_old *run)\n{{\n"
                     f"    int (*function)({types}) = (void *)run->function;")
        for kind, argument in arguments:
            if kind != "answer":
                lines.append(f"    {TYPES[kind]}{argument} = dnn_old_{kind}(run);")
        passed = ", ".join(["run->handle", *("&run->size" if kind == "answer" else argument
                                             for kind, argument in arguments)])
        lines.append("\n    return dnn_old_is_well(run) ? "
                     f"function({passed}) : run->status;\n}}\n")
    last = max(number for number, _, _ in cudnn.functions())
    lines += [f"const unsigned dnn_old_end = {last + 1};\n",
              f"const struct dnn_old_entry dnn_old_entries[{last + 1}] = {{"]
    lines += [f'    [{number}] = {{"{name}", run_{number}, '
              f'{"true" if cudnn.is_question(arguments) else "false"}}},'
              for number, name, arguments in cudnn.functions()]
    return [*lines, "};"]


MAKERS = {"calls": calls, "decoders": decoders}

if __name__ == "__main__":
    sys.exit(generate.main(sys.argv, MAKERS, __doc__))
