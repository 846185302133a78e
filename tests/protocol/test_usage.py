# SPDX-License-Identifier: GPL-2.0-or-later
"""What every program says to a command line that it does not understand."""
import pathlib
import re
import subprocess

import pytest

from mediator import program

MISSPELT = {
    "vgpu-client": ("--scoket", "socket"),
    "vgpu-file-bridge": ("--rooot=/x", "root"),
    "vgpu-keeper": ("--sokcet", "socket"),
    "vgpu-loadgen": ("--secnds=3", "seconds"),
    "vgpu-mediator": ("--polcy", "policy"),
    "vgpu-sim": ("--secnods", "seconds"),
    "vgpu-worker": ("--bakcend", "backend"),
}


def errors_of(name, *arguments):
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 2 and done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_option(name):
    word, meant = MISSPELT[name]
    errors = errors_of(name, word)
    assert word.partition("=")[0] in errors
    assert errors.endswith(f"Did you mean --{meant}? See {name} --help.\n")
    # Far from all options nothing is guessed.
    errors = errors_of(name, "--qqqqqqqqqqqq")
    assert "Did you mean" not in errors and errors.endswith(f"See {name} --help.\n")


@pytest.mark.parametrize("name", MISSPELT)
def test_a_value_where_none_belongs(name):
    """The option is right: there is no other one to guess."""
    errors = errors_of(name, "--help=5")
    assert "Did you mean" not in errors and errors.endswith(f"See {name} --help.\n")


MAN = pathlib.Path(__file__).resolve().parents[2] / "docs" / "man"


@pytest.mark.parametrize("name", MISSPELT)
def test_the_man_page_knows_the_options_of_the_help(name):
    done = subprocess.run([program(name), "--help"], capture_output=True, text=True, timeout=60,
                          check=True)
    options = set(re.findall(r"^  (--[a-z0-9-]+)", done.stdout, re.MULTILINE))
    (page,) = MAN.glob(f"{name}.?")
    known = set(re.findall(r"--[a-z0-9-]+", page.read_text(encoding="utf-8").replace("\\-", "-")))
    assert len(options) > 3 and options - known == set()
