#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""embed.py NAME INPUT OUTPUT: a text file as a C string constant."""

import sys

name, source, output = sys.argv[1:]
with open(source, encoding="ascii") as text, open(output, "w", encoding="ascii") as out:
    out.write("/* Made from %s. */\nstatic const char %s[] =\n" % (source.rsplit("/", 1)[-1], name))
    for line in text:
        escaped = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"').replace("\t", " ")
        out.write('    "%s\\n"\n' % escaped)
    out.write("    ;\n")
