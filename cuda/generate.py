#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes code and documents from the table of the CUDA driver interface (driver.py).

    generate.py WHAT OUTPUT

WHAT: ops (opcodes and kinds, both sides), errors (texts), stubs, hand, names (the library),
table, decoders (the worker), coverage (docs/cuda-coverage.md).
"""
import sys

import driver

HEAD = "/* SPDX-License-Identifier: BSD-3-Clause */\n/* Made by cuda/generate.py. */\n"
VALUES = {"u8": "unsigned char", "u16": "unsigned short", "u32": "unsigned int", "i32": "int",
          "u64": "unsigned long long", "size": "size_t", "f32": "float", "dptr": "CUdeviceptr",
          "dev": "CUdevice", "stream": "CUstream", "str": "const char *"}


def c_type(kind):
    parts = kind.split(".")
    if parts[0] in ("h", "hf", "d"):
        return driver.TYPES[parts[1]]
    if parts[0] in ("o", "p"):
        return c_type(".".join(parts[1:])) + " *"
    return VALUES[kind]


def declare(name, kind):
    kind = c_type(kind)
    return kind + name if kind.endswith("*") else f"{kind} {name}"


def is_out(kind):
    return kind[0] in "op" and kind[1] == "."


def ops():
    lines = [HEAD, "#ifndef CUDA_OPS_H\n#define CUDA_OPS_H\n\nenum cuda_op {"]
    for op, name, *_ in driver.RECORDS:
        lines.append(f"    CUDA_OP_{name} = 0x{op:03X},")
    for op, name, *_ in driver.AUTO:
        lines.append(f"    CUDA_OP_{name} = 0x{op:03X},")
    last = max(row[0] for row in driver.AUTO)
    lines.append(f"    CUDA_OP_END = 0x{last + 1:03X}\n}};\n\nenum cuda_kind {{")
    lines += [f"    CUDA_KIND_{name} = {number}," for name, number in driver.KINDS.items()]
    lines.append("    CUDA_KIND_END\n};\n\n"
                 "/* How a record travels, and what the worker does first. */")
    lines.append("enum {\n    CUDA_ASK = 1,\n    CUDA_FORGET = 2,\n    CUDA_WAIT = 4,\n"
                 "    CUDA_TURN = 8,\n    CUDA_BARRIER = 16,\n    CUDA_FREE = 32,\n"
                 "    CUDA_FOREIGN = 64,\n};\n")
    lines.append("#define CUDA_OPS(X) \\")
    for op, name, how, first, *_ in driver.RECORDS + driver.AUTO:
        flags = " | ".join(f"CUDA_{word.upper()}" for word in (how, *driver.words(first)))
        flags += " | CUDA_FOREIGN" if name in driver.FOREIGN else ""
        lines.append(f"    X({name}, {flags}) \\")
    lines.append("    /* end */\n\n#endif")
    return lines


def errors():
    lines = [HEAD, "#define CUDA_ERRORS(X) \\"]
    lines += [f'    X({n}, "{name}", "{text}") \\' for n, name, text in driver.errors()]
    lines.append("    /* end */")
    return lines


# ---- the library ----

def variants_of(entry):
    return [(suffix, entry.name + suffix) for suffix in entry.variants]


def per_thread(entry):
    return len(entry.variants) > 1


def needs(name, first):
    words = [word for word, holds in (("CUDA_NEEDS_CONTEXT", first != driver.FREE),
                                      ("CUDA_TAKES_FOREIGN", name in driver.FOREIGN)) if holds]
    return " | ".join(words) or "0"


def auto_body(row):
    """The generated function that packs the arguments; `mode` says which default stream."""
    op, name, how, first, text = row
    arguments = driver.arguments(text)
    has_stream = any(kind == "stream" for _, kind in arguments)
    params = [declare(n, k) for n, k in arguments] + ["int mode"]
    lines = [f"static CUresult do_{name}({', '.join(params)})", "{",
             "    struct cuda_call call;"]
    lines.append(f"    CUresult result = cuda_begin(&call, CUDA_OP_{name}, "
                 f"{needs(name, first)});\n")
    lines.append("    if (result) {\n        return result;\n    }")
    for n, kind in arguments:
        if kind.startswith("o."):
            lines.append(f"    if (!{n}) {{\n        return CUDA_ERROR_INVALID_VALUE;\n    }}")
    if not has_stream:
        lines.append("    cuda_default_stream(&call, mode);")
    after = []
    before = None
    at = outs = 0
    for n, kind in arguments:
        parts = kind.split(".")
        if parts[0] in ("h", "hf", "d"):
            lines.append(f"    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t){n}, "
                         f"CUDA_KIND_{parts[1]})) {{\n        return CUDA_ERROR_INVALID_HANDLE;\n"
                         "    }")
            if parts[0] == "d":
                after.append(f"    cuda_object_end((uint64_t)(uintptr_t){n}, result);")
        elif kind == "stream":
            lines.append(f"    if (!cuda_add_stream(&call, {n}, mode)) {{\n"
                         "        return CUDA_ERROR_INVALID_HANDLE;\n    }")
        elif kind == "str":
            lines.append(f"    if (!{n}) {{\n        return CUDA_ERROR_INVALID_VALUE;\n    }}")
            lines.append(f"    cuda_add_string(&call, {n});")
        elif parts[0] == "o" and parts[1] == "h":
            before = f"    call.args[{at}] = cuda_object_new(&call, CUDA_KIND_{parts[2]});"
            lines.append("    cuda_add(&call, 0);")
            after.append(f"    cuda_object_made(&call, result, {n});")
            if parts[2] == "MODULE":
                after.append("    if (result == 0) {\n        "
                             f"cuda_object_of((uint64_t)(uintptr_t)*{n}, call.args[1]);\n    }}")
        elif is_out(kind):
            after.append((outs, n, kind))
            outs += 1
        elif kind == "dptr":
            odd = f" || {n} % {driver.ALIGN[name]} != 0" if name in driver.ALIGN else ""
            lines.append(f"    if (!cuda_range_ok({n}, {driver.RANGES[name][n]}){odd}) {{\n"
                         "        return CUDA_ERROR_INVALID_VALUE;\n    }")
            lines.append(f"    cuda_add(&call, (uint64_t){n});")
        elif kind == "dev":
            lines.append(f"    if ({n} != 0) {{\n        return CUDA_ERROR_INVALID_DEVICE;\n    }}")
        elif kind == "f32":
            raise ValueError("no call passes a float")
        else:
            lines.append(f"    cuda_add(&call, (uint64_t){n});")
        at += 0 if kind == "dev" or (is_out(kind) and parts[1] != "h") else 1
    if before:
        lines.append(before)
    if name in driver.HOST_WAITS:
        lines.append(f"    result = cuda_is_pinned({driver.HOST_WAITS[name]}) ? cuda_wait(&call)\n"
                     f"                                                 : cuda_{how}(&call);")
    else:
        lines.append(f"    result = cuda_{how}(&call);")
    for item in after:
        if isinstance(item, str):
            lines.append(item)
            continue
        at, n, kind = item
        type_ = c_type(".".join(kind.split(".")[1:]))
        guard = f"result == 0 && {n}" if kind.startswith("p.") else "result == 0"
        value = f"cuda_float(call.out[{at}])" if type_ == "float" else f"({type_})call.out[{at}]"
        lines.append(f"    if ({guard}) {{\n        *{n} = {value};\n    }}")
    if name in driver.CHANGES:
        handle, attribute, value = driver.CHANGES[name]
        lines.append("    if (result == 0) {\n        cuda_function_attribute("
                     f"(uint64_t)(uintptr_t){handle}, {attribute}, {value});\n    }}")
    if name in driver.GLOBALS:
        lines.append("    if (result == 0) {\n        cuda_range_add_global(call.out[0], "
                     "call.out[1], call.args[0]);\n    }")
    lines.append("    return result;\n}\n")
    return lines


def parameters(entry):
    """(C parameters, names of the arguments) of an entry that is built."""
    name = driver.ALIAS.get(entry.name, entry.name)
    if name in driver.AUTO_BY_NAME:
        arguments = driver.arguments(driver.AUTO_BY_NAME[name][4])
        return (", ".join(declare(n, k) for n, k in arguments) or "void",
                [n for n, _ in arguments])
    text = driver.HAND[name]
    names = []
    for part in text.split(", "):
        if "(*" in part:
            names.append(part.split("(*")[1].split(")")[0])
        elif part != "void":
            names.append(part.split()[-1].lstrip("*"))
    return text, names


def stubs():
    lines = [HEAD, '#include "guest/cuda/internal.h"\n#include "cuda_hand.h"\n']
    for row in driver.AUTO:
        lines += auto_body(row)
    refused = 0
    for entry in driver.entries():
        for suffix, symbol in variants_of(entry):
            if not entry.built:
                lines.append(f"CUDA_EXPORT CUresult {symbol}(void);\n"
                             f"CUresult {symbol}(void)\n{{\n"
                             f'    return cuda_refuse("{symbol}", {refused});\n}}\n')
                refused += 1
                continue
            name = driver.ALIAS.get(entry.name, entry.name)
            text, names = parameters(entry)
            call = [*names]
            if name in driver.AUTO_BY_NAME or name in THREADED:
                call.append("1" if suffix else "0")
            prefix = "do_" if name in driver.AUTO_BY_NAME else "hand_"
            lines.append(f"CUDA_EXPORT CUresult {symbol}({text});\n"
                         f"CUresult {symbol}({text})\n{{\n"
                         f"    return {prefix}{name}({', '.join(call)});\n}}\n")
    return lines


# By hand and with _ptsz or _ptds: these get a last argument, int mode.
THREADED = {e.name for e in driver.entries() if e.name in driver.HAND and per_thread(e)}


def hand():
    lines = [HEAD, "#ifndef CUDA_HAND_H\n#define CUDA_HAND_H\n",
             "#include \"cuda/driver_types.h\"\n"]
    for name, text in driver.HAND.items():
        text = f"{text}, int mode" if name in THREADED else text
        lines.append(f"CUresult hand_{name}({text});")
    refused = sum(len(e.variants) for e in driver.entries() if not e.built)
    lines.append(f"\n#define CUDA_REFUSED_COUNT {refused}\n\n#endif")
    return lines


def names():
    """The table of cuGetProcAddress, sorted by the base name, newest first."""
    rows = []
    for entry in driver.entries():
        for suffix, symbol in variants_of(entry):
            rows.append((entry.base, -entry.variants[suffix], 1 if suffix else 0, symbol))
    rows.sort()
    lines = [HEAD, '#include "guest/cuda/names.h"\n']
    lines += [f"extern CUresult {symbol}(void);" for *_, symbol in rows]
    lines.append("\nconst struct cuda_name cuda_names[] = {")
    lines += [f'    {{"{base}", {-since}, {mode}, (cuda_function *){symbol}}},'
              for base, since, mode, symbol in rows]
    lines.append(f"}};\nconst unsigned cuda_name_count = {len(rows)};")
    return lines


# ---- the host: names of functions that are not built ----

def name_hash(text):
    """As cuda_name_hash() of common/cuda_names.c."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def refused():
    """The table of common/cuda_names.c, by hash."""
    symbols = [symbol for entry in driver.entries() if not entry.built
               for _, symbol in variants_of(entry)]
    rows = sorted((name_hash(symbol), symbol) for symbol in symbols)
    assert len({row[0] for row in rows}) == len(rows), "two names have one hash"
    lines = [HEAD.replace("BSD-3-Clause", "GPL-2.0-or-later"),
             '#include "common/cuda_names.h"\n', "const struct cuda_name_row cuda_name_rows[] = {"]
    lines += [f'    {{0x{value:08x}u, "{symbol}"}},' for value, symbol in rows]
    lines.append(f"}};\nconst unsigned cuda_name_row_count = {len(rows)};")
    return lines


# ---- the worker ----

def real_functions():
    reals = {name: ", ".join(c_type(k) for _, k in driver.arguments(row[4])) or "void"
             for name, row in driver.AUTO_BY_NAME.items()}
    return {**reals, **driver.REAL}


def table():
    lines = [HEAD, "#ifndef DRIVER_TABLE_H\n#define DRIVER_TABLE_H\n",
             '#include "cuda/driver_types.h"\n', "struct driver_api {"]
    for name, text in sorted(real_functions().items()):
        lines.append(f"    CUresult (*{name})({text});")
    lines.append("};\n\n#define DRIVER_FUNCTIONS(X) \\")
    lines += [f"    X({name}) \\" for name in sorted(real_functions())]
    lines.append("    /* end */\n\n#endif")
    return lines


def decoder(row):
    op, name, _, _, text = row
    arguments = driver.arguments(text)
    lines = [f"CUresult decode_{name}(struct driver_call *call)", "{"]
    checks, before, passed, after = [], [], [], []
    at = outs = 0
    ranges = driver.RANGES.get(name, {})
    for n, kind in arguments:
        parts = kind.split(".")
        type_ = c_type(kind)
        if parts[0] in ("h", "d"):
            lines.append(f"    {type_} {n} = ({type_})driver_handle(call, call->args[{at}], "
                         f"CUDA_KIND_{parts[1]});")
            checks.append(f"!{n}")
            if parts[0] == "d":
                after.append(f"    driver_handle_end(call, call->args[{at}], result);")
            passed.append(n)
            at += 1
        elif parts[0] == "hf":
            lines.append("    CUresult found;")
            lines.append(f"    {type_} {n} = driver_function(call, call->args[{at}], &found);")
            before.append("    if (found) {\n        return found;\n    }")
            passed.append(n)
            at += 1
        elif kind == "stream":
            lines.append(f"    CUstream {n} = NULL;")
            checks.append(f"!driver_stream(call, call->args[{at}], &{n})")
            passed.append(n)
            at += 1
        elif kind == "str":
            lines.append(f"    const char *{n} = driver_string(call, call->args[{at}]);")
            checks.append(f"!{n}")
            passed.append(n)
            at += 1
        elif parts[0] == "o" and parts[1] == "h":
            base = driver.TYPES[parts[2]]
            lines.append(f"    {base} {n} = NULL;")
            checks.append(f"!driver_handle_free(call, call->args[{at}], CUDA_KIND_{parts[2]})")
            if parts[2] == "STREAM":
                before.append("    if (!driver_stream_fits(call)) {\n"
                              "        return CUDA_ERROR_OUT_OF_MEMORY;\n    }")
            passed.append(f"&{n}")
            after.append(f"    driver_handle_made(call, call->args[{at}], "
                         f"CUDA_KIND_{parts[2]}, {n}, result);")
            at += 1
        elif is_out(kind):
            base = c_type(".".join(parts[1:]))
            lines.append(f"    {base} {n} = 0;")
            passed.append(f"&{n}")
            value = f"driver_float_bits({n})" if base == "float" else f"(uint64_t){n}"
            after.append(f"    call->out[{outs}] = {value};")
            outs += 1
        elif kind == "dev":
            passed.append("call->device")
        else:
            lines.append(f"    {type_} {n} = ({type_})call->args[{at}];")
            passed.append(n)
            at += 1
    lines.append("    CUresult result;\n")
    lines.insert(2, f"    /* {at} arguments */")
    if at:
        checks.insert(0, f"call->arg_count < {at}")
    for n, kind in arguments:
        if kind == "dptr":
            lines.append(f"    if (!driver_range_ok(call, {n}, {ranges[n]})) {{\n"
                         "        return CUDA_ERROR_INVALID_VALUE;\n    }")
    if checks:
        lines.insert(len(lines) - sum(1 for _, k in arguments if k == "dptr"),
                     f"    if ({' || '.join(checks)}) {{\n"
                     "        return CUDA_ERROR_INVALID_HANDLE;\n    }")
    lines += before
    lines.append(f"    result = call->api->{name}({', '.join(passed)});")
    lines += after
    if name in driver.GLOBALS:
        lines.append("    if (result == 0) {\n        driver_range_global(call, call->out[0], "
                     "call->out[1], call->args[0]);\n    }")
    if outs:
        lines.append(f"    call->out_count = {outs};")
    lines.append("    return result;\n}\n")
    return lines


def decoders():
    lines = [HEAD, '#include "worker/cuda/channel/driver_internal.h"\n']
    for row in driver.AUTO:
        lines.append(f"CUresult decode_{row[1]}(struct driver_call *call);")
        if row[1] not in driver.OWN_DECODER:
            lines += decoder(row)
    lines.append("driver_decoder *const driver_decoders[CUDA_OP_END] = {")
    lines += [f"    [CUDA_OP_{name}] = driver_run_{name.lower()},"
              for _, name, *_ in driver.RECORDS]
    lines += [f"    [CUDA_OP_{row[1]}] = decode_{row[1]}," for row in driver.AUTO]
    lines.append("};\n\nconst uint8_t driver_flags[CUDA_OP_END] = {\n"
                 "#define ROW(name, flags) [CUDA_OP_##name] = (flags),\n    CUDA_OPS(ROW)\n"
                 "#undef ROW\n};")
    return lines


# ---- documents ----

COVERAGE = """<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# Which functions of the CUDA driver interface are built

Made by `cuda/generate.py coverage` from the table in `cuda/`; [cuda.md](cuda.md) says how to use
them. Of {entries} functions of CUDA 13.0 ({symbols} symbols with their `_ptsz` and `_ptds`
forms), **{built} are built**: {one} of {one_all} of tier 1 (most programs need no others), {two} of
{two_all} of tier 2 and {rest} others. The rest is exported, answers `CUDA_ERROR_NOT_SUPPORTED`
(801), and says its name once on stderr.

## Built

{built_list}

## Not built

{missing}
"""


def wrap(found, width=98):
    lines, line = [], ""
    for name in found:
        word = f"`{name}`"
        if line and len(line) + len(word) + 2 > width:
            lines.append(line + ",")
            line = ""
        line = f"{line}, {word}" if line else word
    return lines + [line + "."] if line else ["None."]


def coverage():
    entries = driver.entries()
    built = [e for e in entries if e.built]
    tiers = {t: [e for e in entries if e.tier == t] for t in ("1", "2", "3", "never")}
    missing = []
    for tier, what in (("1", "Tier 1"), ("2", "Tier 2"), ("3", "Tier 3"),
                       ("never", "Never: graphics, other processes' memory, forms from before "
                                 "CUDA 3.2")):
        missing += [f"**{what}.**"] + wrap([e.name for e in tiers[tier] if not e.built]) + [""]
    return [COVERAGE.format(
        entries=len(entries), symbols=sum(len(e.variants) for e in entries), built=len(built),
        one=sum(e.built for e in tiers["1"]), one_all=len(tiers["1"]),
        two=sum(e.built for e in tiers["2"]), two_all=len(tiers["2"]),
        rest=sum(e.built for e in tiers["3"] + tiers["never"]),
        built_list="\n".join(wrap([e.name for e in built])),
        missing="\n".join(missing).rstrip())]


MAKERS = {f.__name__: f for f in (ops, errors, stubs, hand, names, refused, table, decoders,
                                 coverage)}


def main(argv, makers, usage):
    """Also of the other tables' generators."""
    if len(argv) != 3 or argv[1] not in makers:
        print(usage, file=sys.stderr)
        return 2
    text = "\n".join(makers[argv[1]]()).rstrip("\n") + "\n"
    with open(argv[2], "w", encoding="utf-8") as output:
        output.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv, MAKERS, __doc__))
