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
        "headers": ("cublasLt.h",), "handle": "cublasLtHandle_t",
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
    "cudnn": {
        "title": "cuDNN", "file": "libcudnn", "node": "libcudnn.so.9", "headers": ("cudnn.h",),
        "handle": "cudnnHandle_t", "refusal": (3000, "CUDNN_STATUS_NOT_SUPPORTED"),
        "built": {
            "cudnnCreate", "cudnnDestroy", "cudnnSetStream", "cudnnGetStream", "cudnnGetVersion",
            "cudnnGetCudartVersion", "cudnnGetProperty", "cudnnGetErrorString",
            "cudnnGetLastErrorString", "cudnnBackendCreateDescriptor",
            "cudnnBackendDestroyDescriptor", "cudnnBackendFinalize", "cudnnBackendSetAttribute",
            "cudnnBackendGetAttribute", "cudnnBackendExecute", "cudnnCreateTensorDescriptor",
            "cudnnSetTensorNdDescriptor", "cudnnGetTensorNdDescriptor",
            "cudnnDestroyTensorDescriptor", "cudnnCreateActivationDescriptor",
            "cudnnSetActivationDescriptor", "cudnnDestroyActivationDescriptor",
            "cudnnBatchNormalizationForwardInference", "cudnnBatchNormalizationForwardTrainingEx",
            "cudnnBatchNormalizationBackwardEx",
            "cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize",
            "cudnnGetBatchNormalizationBackwardExWorkspaceSize",
            "cudnnGetBatchNormalizationTrainingExReserveSpaceSize",
        },
    },
    "cufft": {
        "title": "cuFFT", "file": "libcufft", "node": "libcufft.so.12", "headers": ("cufftXt.h",),
        "handle": "cufftHandle", "refusal": (16, "CUFFT_NOT_SUPPORTED"), "version": (12, 0, 0),
        "built": {
            "cufftGetVersion", "cufftGetProperty", "cufftCreate", "cufftDestroy",
            "cufftSetAutoAllocation", "cufftSetStream", "cufftSetWorkArea", "cufftGetSize",
            "cufftXtMakePlanMany", "cufftMakePlanMany", "cufftMakePlanMany64", "cufftMakePlan1d",
            "cufftMakePlan2d", "cufftMakePlan3d", "cufftPlan1d", "cufftPlan2d", "cufftPlan3d",
            "cufftPlanMany", "cufftXtExec", "cufftExecC2C", "cufftExecR2C", "cufftExecC2R",
            "cufftExecZ2Z", "cufftExecD2Z", "cufftExecZ2D",
        },
    },
    # But for the versions nothing of these is built: NVIDIA's own can't run on our driver, and say
    # so less clearly.
    "cusparse": {
        "title": "cuSPARSE", "file": "libcusparse", "node": "libcusparse.so.12",
        "headers": ("cusparse.h",), "handle": "cusparseHandle_t",
        "refusal": (10, "CUSPARSE_STATUS_NOT_SUPPORTED"), "version": (12, 6, 3),
        "built": {"cusparseGetVersion", "cusparseGetProperty"},
    },
    "cusolver": {
        "title": "cuSOLVER", "file": "libcusolver", "node": "libcusolver.so.12",
        "headers": ("cusolverDn.h", "cusolverSp.h", "cusolverRf.h"), "handle": "cusolverDnHandle_t",
        "refusal": (9, "CUSOLVER_STATUS_NOT_SUPPORTED"), "version": (12, 0, 4),
        "built": {"cusolverGetVersion", "cusolverGetProperty"},
    },
}
# Types that are addresses without a star.
POINTERS = re.compile(r"^(cublasLt\w+_t|cudnn\w+Descriptor_t)$")
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
    struct = "struct dnn_handle " if handle == "cudnnHandle_t" else "struct blas_handle "
    kind = re.sub(r" const$", "", kind)
    kind = re.sub(r"^const (cudnn\w+Descriptor_t)$", r"\1", kind)
    if kind in ("cudnnDataType_t *", "double"):
        return {"double": "double "}.get(kind, "int *")
    if kind.replace(" ", "") == "cudaStream_t*":
        return "CUstream *"
    if handle == "cufftHandle" and kind.replace(" ", "") in (handle, handle + "*"):
        return "void *" if "*" in kind else "int "  # a number
    if kind.replace(" ", "") == handle + "*":
        return struct + "**"
    if kind == handle:
        return struct + "*"
    if "*" in kind:
        base = kind.replace("const", "").rstrip("* ").strip()
        base = base if base in ("int", "size_t", "char", "int64_t") else "void"
        stars = "**" if POINTERS.match(kind.rstrip("* ")) and "Opaque" not in kind and \
            base == "void" and re.search(r"(Desc|Layout|Preference|Descriptor)_t", kind) else "*"
        return ("const " if kind.startswith("const") else "") + base + " " + stars
    if POINTERS.match(kind) and not NUMBERS.search(kind):
        return "void *"
    if kind.replace("const ", "") == "long long int":
        return "long long "
    return {"size_t": "size_t ", "uint64_t": "uint64_t ", "int64_t": "int64_t ",
            "cudaStream_t": "CUstream ", "unsigned": "unsigned "}.get(kind, "int ")
