# SPDX-License-Identifier: BSD-3-Clause
"""The table of the cuBLAS front end: which functions there are, which are built, and how.

cublas.tsv has every function of NVIDIA's header with its parameters.  This module says of those
that are built what their arguments are; generate_cublas.py makes code from both.

CALLS  travel to the worker, which makes them on the host's library.  For each address of the GPU
       stands how many bytes of it are used, and for alpha and beta how long they are: C in terms
       of the arguments, by the saturating helpers of blas.h.  All other arguments are numbers.
       A pair says what else there may be behind a pointer: ("out", bytes), ("in", ...) and
       ("inout", ...) are values that lie on the GPU or, by the handle's pointer mode, in the
       program; ("info",) is always the program's.
LOCAL  by hand in guest/frontends: a handle's settings, versions, texts.
Everything else is exported and answers CUBLAS_STATUS_NOT_SUPPORTED.  Numbers of calls are on the
wire and only ever appended.
"""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = "libcublas.so.13"


def gemm(a, b, c, scalar, batched=False):
    """Addresses and scalars of a product; a, b, c: bytes of an element."""
    found = {}
    for name, trans, rows, columns, size in (("A", "transa", "m", "k", a),
                                             ("B", "transb", "k", "n", b), ("C", "0", "m", "n", c)):
        text = f"blas_matrix({trans}, {rows}, {columns}, ld{name.lower()}, {size})"
        if batched:
            text = f"blas_batch({text}, stride{name}, batchCount, {size})"
        found[name] = text
    return {**found, "alpha": str(scalar), "beta": str(scalar)}


EX = ("blas_type_bytes(Atype)", "blas_type_bytes(Btype)", "blas_type_bytes(Ctype)",
      "blas_scalar_bytes(computeType, Ctype)")
# (number, name, bytes behind each address)
CALLS = [
    (1, "cublasSgemm_v2", gemm(4, 4, 4, 4)),
    (2, "cublasDgemm_v2", gemm(8, 8, 8, 8)),
    (3, "cublasSgemmStridedBatched", gemm(4, 4, 4, 4, batched=True)),
    (4, "cublasDgemmStridedBatched", gemm(8, 8, 8, 8, batched=True)),
    (5, "cublasGemmEx", gemm(*EX)),
    (6, "cublasGemmStridedBatchedEx", gemm(*EX, batched=True)),
    (7, "cublasSgemv_v2", {"A": "blas_matrix(0, m, n, lda, 4)",
                           "x": "blas_vector(trans ? m : n, incx, 4)",
                           "y": "blas_vector(trans ? n : m, incy, 4)", "alpha": "4", "beta": "4"}),
    (8, "cublasDgemv_v2", {"A": "blas_matrix(0, m, n, lda, 8)",
                           "x": "blas_vector(trans ? m : n, incx, 8)",
                           "y": "blas_vector(trans ? n : m, incy, 8)", "alpha": "8", "beta": "8"}),
    (9, "cublasSaxpy_v2", {"x": "blas_vector(n, incx, 4)", "y": "blas_vector(n, incy, 4)",
                           "alpha": "4"}),
    (10, "cublasDaxpy_v2", {"x": "blas_vector(n, incx, 8)", "y": "blas_vector(n, incy, 8)",
                            "alpha": "8"}),
    (11, "cublasSscal_v2", {"x": "blas_vector(n, incx, 4)", "alpha": "4"}),
    (12, "cublasDscal_v2", {"x": "blas_vector(n, incx, 8)", "alpha": "8"}),
]
SCALARS = {"alpha", "beta", "c", "s"}  # unless a pair says otherwise
# What numbers of these names may be: 0 to this.
CHOICES = {"uplo": 2, "side": 1, "mode": 1, "diag": 1, "trans": 2, "transa": 2, "transb": 2}
ALGORITHM = "algo"  # of the type cublasGemmAlgo_t

# Families of functions that differ by their types alone; the bytes of an element, {}, and of a
# factor follow from the parameter's type.  (form of the name, letters, bytes behind each address)
VECTOR, SQUARE = "blas_vector(n, inc{name}, {{}})", "blas_matrix(0, n, n, lda, {})"
X, Y = VECTOR.format(name="x"), VECTOR.format(name="y")
SIDE = "blas_matrix(0, side ? n : m, side ? n : m, lda, {})"
BOX = "blas_matrix(0, m, n, ld{name}, {{}})"
B, C = BOX.format(name="b"), BOX.format(name="c")
TALL = "blas_matrix(trans, n, k, ld{name}, {{}})"
C_SQUARE = "blas_matrix(0, n, n, ldc, {})"
GER = {"x": "blas_vector(m, incx, {})", "y": Y, "A": "blas_matrix(0, m, n, lda, {})"}
FAMILIES = [
    ("cublas{}copy_v2", "SDCZ", {"x": X, "y": Y}),
    ("cublas{}swap_v2", "SDCZ", {"x": X, "y": Y}),
    ("cublas{}axpy_v2", "CZ", {"x": X, "y": Y}),
    ("cublas{}scal_v2", ["C", "Z", "Cs", "Zd"], {"x": X}),
    ("cublas{}gemv_v2", "CZ", {"A": "blas_matrix(0, m, n, lda, {})",
                               "x": "blas_vector(trans ? m : n, incx, {})",
                               "y": "blas_vector(trans ? n : m, incy, {})"}),
    ("cublas{}ger_v2", "SD", GER),
    ("cublas{}geru_v2", "CZ", GER),
    ("cublas{}gerc_v2", "CZ", GER),
    ("cublas{}symv_v2", "SDCZ", {"A": SQUARE, "x": X, "y": Y}),
    ("cublas{}hemv_v2", "CZ", {"A": SQUARE, "x": X, "y": Y}),
    ("cublas{}syr_v2", "SDCZ", {"A": SQUARE, "x": X}),
    ("cublas{}her_v2", "CZ", {"A": SQUARE, "x": X}),
    ("cublas{}syr2_v2", "SDCZ", {"A": SQUARE, "x": X, "y": Y}),
    ("cublas{}her2_v2", "CZ", {"A": SQUARE, "x": X, "y": Y}),
    ("cublas{}trmv_v2", "SDCZ", {"A": SQUARE, "x": X}),
    ("cublas{}trsv_v2", "SDCZ", {"A": SQUARE, "x": X}),
    ("cublas{}symm_v2", "SDCZ", {"A": SIDE, "B": B, "C": C}),
    ("cublas{}hemm_v2", "CZ", {"A": SIDE, "B": B, "C": C}),
    ("cublas{}syrk_v2", "SDCZ", {"A": TALL.format(name="a"), "C": C_SQUARE}),
    ("cublas{}herk_v2", "CZ", {"A": TALL.format(name="a"), "C": C_SQUARE}),
    ("cublas{}syr2k_v2", "SDCZ", {"A": TALL.format(name="a"), "B": TALL.format(name="b"),
                                  "C": C_SQUARE}),
    ("cublas{}her2k_v2", "CZ", {"A": TALL.format(name="a"), "B": TALL.format(name="b"),
                                "C": C_SQUARE}),
    ("cublas{}trmm_v2", "SDCZ", {"A": SIDE, "B": B, "C": C}),
    ("cublas{}trsm_v2", "SDCZ", {"A": SIDE, "B": B}),
    ("cublas{}gemm_v2", "CZ", {"A": "blas_matrix(transa, m, k, lda, {})",
                               "B": "blas_matrix(transb, k, n, ldb, {})", "C": C}),
    ("cublas{}gemmStridedBatched", "CZ", {
        "A": "blas_batch(blas_matrix(transa, m, k, lda, {0}), strideA, batchCount, {0})",
        "B": "blas_batch(blas_matrix(transb, k, n, ldb, {0}), strideB, batchCount, {0})",
        "C": "blas_batch(blas_matrix(0, m, n, ldc, {0}), strideC, batchCount, {0})"}),
]
FAMILIES_FROM = 13  # their numbers: one after the other, in this order
# Behind an array of addresses on the GPU; what those mean is the GPU's to judge.
ARRAY = "blas_vector(batchCount, 1, 8)"
ARRAYS = "blas_vector(batchSize, 1, 8)"
RESULT = {"x": X, "y": Y, "result": ("out", "{}")}
NORM = {"x": X, "result": ("out", "{}")}
ROT = {"x": X, "y": Y, "c": "{}", "s": "{}"}
INFO = ("info",)
FAMILIES += [
    ("cublas{}_v2", ["Sdot", "Ddot", "Cdotu", "Cdotc", "Zdotu", "Zdotc"], RESULT),
    ("cublas{}nrm2_v2", ["S", "D", "Sc", "Dz"], NORM),
    ("cublas{}asum_v2", ["S", "D", "Sc", "Dz"], NORM),
    ("cublasI{}_v2", ["samax", "damax", "camax", "zamax", "samin", "damin", "camin", "zamin"],
     NORM),
    ("cublas{}rot_v2", ["S", "D", "C", "Cs", "Z", "Zd"], ROT),
    ("cublas{}rotg_v2", "SDCZ", {n: ("inout", "{}") for n in "abcs"}),
    ("cublas{}rotm_v2", "SD", {"x": X, "y": Y, "param": ("in", "5 * {}")}),
    ("cublas{}rotmg_v2", "SD", {"d1": ("inout", "{}"), "d2": ("inout", "{}"),
                                "x1": ("inout", "{}"), "y1": ("in", "{}"),
                                "param": ("out", "5 * {}")}),
    ("cublas{}gemmBatched", "SDCZ", {"Aarray": ARRAY, "Barray": ARRAY, "Carray": ARRAY}),
    ("cublas{}trsmBatched", "SDCZ", {"A": ARRAY, "B": ARRAY}),
    ("cublas{}getrfBatched", "SDCZ", {"A": ARRAYS, "P": "P ? blas_pivots(n, batchSize) : 0",
                                      "info": "blas_vector(batchSize, 1, 4)"}),
    ("cublas{}getrsBatched", "SDCZ", {"Aarray": ARRAYS, "Barray": ARRAYS, "info": INFO,
                                      "devIpiv": "devIpiv ? blas_pivots(n, batchSize) : 0"}),
    ("cublas{}geqrfBatched", "SDCZ", {"Aarray": ARRAYS, "TauArray": ARRAYS, "info": INFO}),
    ("cublas{}gelsBatched", "SDCZ", {
        "Aarray": ARRAYS, "Carray": ARRAYS, "info": INFO,
        "devInfoArray": "devInfoArray ? blas_vector(batchSize, 1, 4) : 0"}),
    ("cublas{}", ["DotEx"], {"x": "blas_vector(n, incx, blas_type_bytes(xType))",
                             "y": "blas_vector(n, incy, blas_type_bytes(yType))",
                             "result": ("out", "blas_type_bytes(resultType)")}),
    ("cublas{}", ["Nrm2Ex"], {"x": "blas_vector(n, incx, blas_type_bytes(xType))",
                              "result": ("out", "blas_type_bytes(resultType)")}),
    ("cublas{}", ["SgemmEx"], {
        "A": "blas_matrix(transa, m, k, lda, blas_type_bytes(Atype))",
        "B": "blas_matrix(transb, k, n, ldb, blas_type_bytes(Btype))",
        "C": "blas_matrix(0, m, n, ldc, blas_type_bytes(Ctype))"}),
    ("cublas{}", ["GemmBatchedEx"], {"Aarray": ARRAY, "Barray": ARRAY, "Carray": ARRAY,
                                     "alpha": "blas_scalar_bytes(computeType, Ctype)",
                                     "beta": "blas_scalar_bytes(computeType, Ctype)"}),
    ("cublas{}geam", "SDCZ", {"A": "blas_matrix(transa, m, n, lda, {})",
                              "B": "blas_matrix(transb, m, n, ldb, {})", "C": C}),
    ("cublas{}dgmm", "SDCZ", {"A": "blas_matrix(0, m, n, lda, {})", "C": C,
                              "x": "blas_vector(mode ? n : m, incx, {})"}),
]
ELEMENT_BYTES = {"int": 4, "float": 4, "double": 8, "cuComplex": 8, "cuDoubleComplex": 16}

LOCAL = {
    "cublasCreate_v2", "cublasDestroy_v2", "cublasGetVersion_v2", "cublasGetProperty",
    "cublasGetCudartVersion", "cublasSetStream_v2", "cublasGetStream_v2", "cublasSetWorkspace_v2",
    "cublasSetPointerMode_v2", "cublasGetPointerMode_v2", "cublasSetMathMode",
    "cublasGetMathMode", "cublasSetAtomicsMode", "cublasGetAtomicsMode", "cublasGetStatusName",
    "cublasGetStatusString", "cublasLoggerConfigure", "cublasSetLoggerCallback",
    "cublasGetLoggerCallback", "cublasSetVector", "cublasGetVector", "cublasSetMatrix",
    "cublasGetMatrix", "cublasSetVectorAsync", "cublasGetVectorAsync", "cublasSetMatrixAsync",
    "cublasGetMatrixAsync",
}
RETURNS = {"cublasGetStatusName": "const char *", "cublasGetStatusString": "const char *",
           "cublasGetCudartVersion": "size_t", "cublasXerbla": "void"}


class Function:
    def __init__(self, line):
        self.name, self.params = line.split("\t")

    @property
    def built(self):
        return self.name in LOCAL or any(self.name == row[1] for row in CALLS)

    @property
    def arguments(self):
        """(C type, name) of each."""
        found = []
        for part in self.params.split(","):
            match = re.match(r"(.*?)(\w+)(?:\[\])?$", part.strip())
            found.append((match.group(1).strip(), match.group(2)))
        return found


def element_bytes(kind):
    """0: its type is an argument of its own."""
    return ELEMENT_BYTES.get(kind.replace("const", "").rstrip("* ").strip(), 0)


def filled(shape, size):
    if isinstance(shape, tuple):
        return (shape[0], *(part.format(size) for part in shape[1:]))
    return shape.format(size)


def add_families():
    by_name = {function.name: function for function in functions()}
    number = FAMILIES_FROM
    for form, letters, shapes in FAMILIES:
        for letter in letters:
            name = form.format(letter)
            arguments = by_name[name].arguments
            sizes = {argument: filled(shapes[argument], element_bytes(kind))
                     for kind, argument in arguments if argument in shapes}
            sizes.update({argument: str(element_bytes(kind)) for kind, argument in arguments
                          if argument in SCALARS and argument not in shapes})
            CALLS.append((number, name, sizes))
            number += 1


def functions():
    with open(os.path.join(HERE, "cublas.tsv"), encoding="utf-8") as file:
        return [Function(line.rstrip("\n")) for line in file if not line.startswith("#")]


add_families()
