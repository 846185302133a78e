# SPDX-License-Identifier: BSD-3-Clause
"""The front ends of NVIDIA's libraries whose calls are made by hand, or not yet.

NAME.tsv has every function of the library's header: name, what it returns, parameters.  LIBRARIES
says of each library the version of its symbols, which functions are built (in guest/frontends),
what the others answer, and by which name.  generate_frontends.py makes code from both.
"""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))

LIBRARIES = {
    "cublaslt": {
        "title": "cuBLASLt", "file": "libcublasLt", "node": "libcublasLt.so.13",
        "header": "cublasLt.h", "handle": "cublasLtHandle_t",
        "refusal": (15, "CUBLAS_STATUS_NOT_SUPPORTED"),
        "built": {
            "cublasLtCreate", "cublasLtDestroy", "cublasLtGetStatusName",
            "cublasLtGetStatusString", "cublasLtGetVersion", "cublasLtGetCudartVersion",
            "cublasLtGetProperty", "cublasLtHeuristicsCacheGetCapacity",
            "cublasLtHeuristicsCacheSetCapacity", "cublasLtDisableCpuInstructionsSetMask",
            "cublasLtMatmul", "cublasLtMatrixLayoutInit_internal", "cublasLtMatrixLayoutCreate",
            "cublasLtMatrixLayoutDestroy", "cublasLtMatrixLayoutSetAttribute",
            "cublasLtMatrixLayoutGetAttribute", "cublasLtMatmulDescInit_internal",
            "cublasLtMatmulDescCreate", "cublasLtMatmulDescDestroy",
            "cublasLtMatmulDescSetAttribute", "cublasLtMatmulDescGetAttribute",
            "cublasLtMatmulPreferenceInit_internal", "cublasLtMatmulPreferenceCreate",
            "cublasLtMatmulPreferenceDestroy", "cublasLtMatmulPreferenceSetAttribute",
            "cublasLtMatmulPreferenceGetAttribute", "cublasLtMatmulAlgoGetHeuristic",
            "cublasLtLoggerSetCallback", "cublasLtLoggerSetFile", "cublasLtLoggerOpenFile",
            "cublasLtLoggerSetLevel", "cublasLtLoggerSetMask", "cublasLtLoggerForceDisable",
        },
    },
}
# Types that are addresses without a star.
POINTERS = re.compile(r"^(cublasLt\w+_t)$")
NUMBERS = re.compile(r"(Attributes?|Type|Status|Fill|Mode)_t$|Attributes?_t$")


class Function:
    def __init__(self, line):
        self.name, self.returns, self.params = line.split("\t")

    @property
    def arguments(self):
        """(C type, name) of each."""
        found = []
        for part in self.params.split(","):
            match = re.match(r"(.*?)(\w+)(\[\])?$", part.strip())
            kind = match.group(1).strip() + (" *" if match.group(3) else "")
            if match.group(2) != "void":
                found.append((kind, match.group(2)))
        return found


def functions(library):
    with open(os.path.join(HERE, library + ".tsv"), encoding="utf-8") as file:
        return [Function(line.rstrip("\n")) for line in file if not line.startswith("#")]


def plain_type(kind, handle):
    """In types that this code has: handles, addresses and numbers."""
    if kind.replace(" ", "") == handle + "*":
        return "struct blas_handle **"
    if kind == handle:
        return "struct blas_handle *"
    if "*" in kind:
        base = kind.replace("const", "").rstrip("* ").strip()
        base = base if base in ("int", "size_t", "char") else "void"
        stars = "**" if POINTERS.match(kind.rstrip("* ")) and "Opaque" not in kind and \
            base == "void" and re.search(r"(Desc|Layout|Preference)_t", kind) else "*"
        return ("const " if kind.startswith("const") else "") + base + " " + stars
    if POINTERS.match(kind) and not NUMBERS.search(kind):
        return "void *"
    return {"size_t": "size_t ", "uint64_t": "uint64_t ", "int64_t": "int64_t ",
            "cudaStream_t": "CUstream ", "unsigned": "unsigned "}.get(kind, "int ")
