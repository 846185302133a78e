# SPDX-License-Identifier: BSD-3-Clause
"""The .tsv files beside this one: lines of columns, with comments that begin with "#"."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file if not line.startswith("#")]


def errors(name):
    """(number, name, text) of each error code."""
    return [(int(number), error, text)
            for number, error, text in (line.split("\t") for line in read(name))]
