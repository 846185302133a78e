#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that docs/protocol.md knows every constant of vgpu_protocol.h, with its value.

    protocol_doc_check.py [FOLDER]      default: the tree this script lies in

A constant counts as documented when some line of the document holds its name in
backquotes (whole, or without the prefix that its family shares) and its value, in
any notation.  The document's ```hex blocks must be whole frames: magic, type and lengths
that fit each other.
Exit status: 0 all well, 1 something is missing (one line each), 2 can't check.
"""
import os
import re
import struct
import sys

import tree

HEADER = "include/vgpu/vgpu_protocol.h"
DOC = "docs/protocol.md"

# Prefixes that tables of the document may leave out.
FAMILIES = ("VGPU_REG_", "VGPU_STATUS_", "VGPU_CAP_", "VGPU_IRQ_", "VGPU_PRIORITY_", "VGPU_ERR_",
            "VGPU_OP_", "VGPU_INFO_", "VGPU_BACKEND_", "VGPU_MSG_", "VGPU_FEATURE_")
# Counts of an enum's members, masks of all bits and the like: derived, not part of the contract.
DERIVED = re.compile(r"_COUNT$|_ALL$|_KNOWN$|^VGPU_REG_END$|_H$|"
                     r"^VGPU_STATIC_ASSERT$|^VGPU_AS_TEXT$")

DEFINE = re.compile(r"^#define\s+(VGPU_\w+)\s+(.+?)\s*(?:/\*.*)?$", re.MULTILINE)
MEMBER = re.compile(r"^\s+(VGPU_\w+)\s*=\s*([^,/]+?)\s*(?:,|/\*|$)", re.MULTILINE)
OPERATION = re.compile(r"^\s+X\((\w+), (0x[0-9A-Fa-f]+), \"", re.MULTILINE)
NUMBER = re.compile(r"0x[0-9A-Fa-f]+|\b\d+\b")


def value_of(text):
    """The integer or string that a simple definition stands for, or None."""
    text = text.strip()
    shift = re.fullmatch(r"\(\s*1u?\s*<<\s*(\d+)\s*\)", text)
    if shift:
        return 1 << int(shift.group(1))
    if re.fullmatch(r"(0x[0-9A-Fa-f]+|\d+)u?", text):
        return int(text.rstrip("u"), 0)
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
    return quoted.group(2) if quoted else None


def constants(header):
    """(name, value) of each constant whose value is written out."""
    for name, text in DEFINE.findall(header) + MEMBER.findall(header):
        value = value_of(text)
        if value is not None and not DERIVED.search(name):
            yield name, value
    for name, code in OPERATION.findall(header):
        yield f"VGPU_OP_{name}", int(code, 0)


def names_of(name):
    yield name
    for family in FAMILIES:
        if name.startswith(family):
            yield name[len(family):]


def documented(name, value, lines):
    for line in lines:
        if not any(f"`{short}`" in line for short in names_of(name)):
            continue
        if isinstance(value, str) and value in line:
            return True
        if not isinstance(value, str) and \
                value in (int(number, 0 if number.startswith("0x") else 10)
                          for number in NUMBER.findall(line.replace(",", ""))):
            return True
    return False


def frame_fault(block):
    """What is wrong with a hex block as a frame, or None."""
    digits = "".join(line[:line.find("   ")] if "   " in line else line
                     for line in block.splitlines())
    frame = bytes.fromhex(digits)
    if len(frame) < 56:
        return "shorter than two headers"
    magic, msg_type, _, _, _, _, _, payload = struct.unpack_from("<4I2BHI", frame)
    if magic != 0x56475055 or not 1 <= msg_type <= 6:
        return "no magic, or a type without request or response"
    if payload != len(frame) - 24:
        return f"payload_len {payload}, but {len(frame) - 24} bytes follow"
    version, _, third, fourth, fifth, sixth = struct.unpack_from("<6I", frame, 24)
    words = fourth if msg_type == 1 else third
    data = sixth if msg_type == 1 else fifth
    if version != 0x10000 or payload != 32 + 4 * words + data:
        return "version or counts do not fit the payload"
    return None


def main(argv):
    root = tree.root_of(argv)
    try:
        with open(os.path.join(root, HEADER), encoding="utf-8") as source:
            known = list(constants(source.read()))
        with open(os.path.join(root, DOC), encoding="utf-8") as source:
            lines = source.readlines()
    except OSError as error:
        print(f"protocol_doc_check: {error}", file=sys.stderr)
        return 2
    if not known:
        print(f"protocol_doc_check: found no constants in {HEADER}", file=sys.stderr)
        return 2
    missing = [(name, value) for name, value in known if not documented(name, value, lines)]
    for name, value in missing:
        shown = value if isinstance(value, str) else f"{value} = {value:#x}"
        print(f"{DOC}: no line with `{name}` and its value {shown}")
    faults = [fault for fault in map(frame_fault, re.findall(r"^```hex\n(.*?)^```", "".join(lines),
                                                            re.DOTALL | re.MULTILINE)) if fault]
    for fault in faults:
        print(f"{DOC}: a hex example is wrong: {fault}")
    print(f"{len(known)} constants, {len(missing)} not documented")
    return 1 if missing or faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
