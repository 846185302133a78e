#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one module of somebody's unittest tests and notes each test's outcome, at once: what comes
before a crash is kept.

  unit_outcomes.py OUT MODULE

OUT gets a line of JSON for each test: its name, passed, failed or skipped, and why.

Numba's tests import the package filecheck, which few of them use.  Where it is not installed those
are skipped, and the others run.  They also ask numpy for a name that new versions of it have no
more: it gets it back."""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import unittest


class Missing:
    """Whatever a test takes from a package that is not there."""

    def __init__(self, *_args, **_kwargs):
        raise unittest.SkipTest("filecheck is not installed")


class MissingPackage(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "filecheck":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module):
        # Attributes that the import system itself asks for are really not there.
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Missing

        module.__getattr__ = attribute


class Outcomes(unittest.TextTestResult):
    out = None

    def note(self, test, what, why=""):
        lines = str(why).strip().splitlines()
        self.out.write(json.dumps([test.id(), what, lines[-1][:200] if lines else ""]) + "\n")
        self.out.flush()

    def startTest(self, test):
        super().startTest(test)
        self.note(test, "begun")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "failed", self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failed", self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "failed", err[1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test, "skipped", "an expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "passed")


def mend_numpy():
    if importlib.util.find_spec("numpy"):
        import numpy

        if not hasattr(numpy, "row_stack"):
            numpy.row_stack = numpy.vstack


def main():
    mend_numpy()
    if importlib.util.find_spec("filecheck") is None:
        sys.meta_path.append(MissingPackage())
    with open(sys.argv[1], "w", encoding="utf-8") as Outcomes.out:
        tests = unittest.defaultTestLoader.loadTestsFromName(sys.argv[2])
        unittest.TextTestRunner(resultclass=Outcomes, stream=sys.stderr).run(tests)


if __name__ == "__main__":
    main()
