#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of the CUDA runtime against NVIDIA's headers, where a toolkit of CUDA 13 is.

    cudart_abi_check.py ROOT

Prototypes of the functions, layouts and numbers of what they take, and parameters of what is
called of the driver.  Without a toolkit there is nothing to compare with: exit status 77.
VGPU_CUDA_HOME says where it is; default: /usr/local/cuda."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1]).resolve()
HOME = pathlib.Path(os.environ.get("VGPU_CUDA_HOME", "/usr/local/cuda"))
sys.path.insert(0, str(ROOT / "cuda"))
sys.dont_write_bytecode = True
import cublas  # noqa: E402
import frontends  # noqa: E402
import generate_runtime  # noqa: E402
import runtime  # noqa: E402

STRUCTS = {
    "struct cudaDeviceProp": None, "struct cudaFuncAttributes": None,
    "struct cudaPointerAttributes": None, "struct cudaExtent": None, "struct cudaPitchedPtr": None,
    "struct cudaMemsetParams": None, "struct cudaMemcpy3DParms": None, "struct cudaPos": None,
    "struct cudaKernelNodeParams": None,
    "cudaLaunchConfig_t": None, "struct cudaChannelFormatDesc": None, "dim3": None, "uint3": None,
}
NUMBERS = ["cudaMemcpyHostToHost", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost",
           "cudaMemcpyDeviceToDevice", "cudaMemcpyDefault", "cudaMemoryTypeUnregistered",
           "cudaMemoryTypeHost", "cudaMemoryTypeDevice", "cudaMemoryTypeManaged",
           "cudaDriverEntryPointSuccess", "cudaDriverEntryPointSymbolNotFound",
           "cudaDriverEntryPointVersionNotSufficent", "cudaErrorInvalidValue",
           "cudaErrorInvalidSymbol", "cudaErrorInvalidMemcpyDirection",
           "cudaErrorInsufficientDriver", "cudaErrorCallRequiresNewerDriver",
           "cudaErrorMissingConfiguration", "cudaErrorInvalidDeviceFunction",
           "cudaErrorNoKernelImageForDevice", "cudaErrorInvalidResourceHandle",
           "cudaErrorNotSupported"]


def members():
    """The fields of our structures, by their own text."""
    text = (ROOT / "cuda" / "runtime_types.h").read_text()
    found = {}
    for name in STRUCTS:
        tag = name.split()[-1]
        body = re.search(rf"(?:struct|typedef struct) {tag} {{(.*?)\n}}", text, re.S).group(1)
        found[name] = [re.sub(r"[\s*]|\[\d+\]", "", declarator.split()[-1])
                       for line in body.split(";") if line.strip()
                       for declarator in line.split(",")]
    return found


def compiled(source, *flags):
    """What the program made from this source prints."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "program"
        made = subprocess.run(["cc", "-x", "c", "-Werror=incompatible-pointer-types", *flags, "-",
                               "-o", program], input=source, text=True, capture_output=True,
                              check=False)
        if made.returncode:
            sys.exit(f"cudart_abi_check: doesn't compile:\n{made.stderr}")
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def layouts(header, *flags):
    lines = [f'#include {header}', "#include <stddef.h>", "#include <stdio.h>", "int main(void)\n{"]
    for name, fields in members().items():
        lines.append(f'    printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'    printf("{name}.{f} %zu %zu\\n", offsetof({name}, {f}), '
                  f"sizeof((({name} *)0)->{f}));" for f in fields]
    lines += [f'    printf("{n} %d\\n", (int){n});' for n in NUMBERS] + ["    return 0;\n}"]
    return compiled("\n".join(lines), *flags)


def check_prototypes():
    """The compiler refuses a second declaration that differs."""
    lines = ["#include <cuda_runtime_api.h>"]
    for function in runtime.functions():
        known = not re.match(r"__cuda|.*(GL|EGL|VDPAU|NvSci|Egl)", function.name)
        if known:
            kind = runtime.OWN.get(function.name, "cudaError_t")
            lines.append(f"{kind} CUDARTAPI {function.name}({function.params});")
    lines.append("int main(void) { return 0; }")
    compiled("\n".join(lines), f"-I{HOME}/include")
    return len(lines) - 2


def check_cublas():
    lines = ["#include <cublas_v2.h>"]
    lines += [f"{cublas.RETURNS.get(f.name, 'cublasStatus_t')} CUBLASWINAPI {f.name}({f.params});"
              for f in cublas.functions() if not re.search("half|bfloat", f.params)]
    lines.append("int main(void) { return 0; }")
    compiled("\n".join(lines), f"-I{HOME}/include")
    return len(lines) - 2


def check_frontends():
    """Prototypes, and that the descriptors of cuBLASLt fit NVIDIA's opaque ones."""
    count = 0
    for name, library in frontends.LIBRARIES.items():
        if not all((HOME / "include" / header).exists() for header in library["headers"]):
            continue
        lines = ["#include <stdio.h>", *(f"#include <{header}>" for header in library["headers"])]
        functions = frontends.functions(name)
        lines += [f"{f.returns} {f.name}({f.params});" for f in functions]
        lines.append("int main(void) { return 0; }")
        compiled("\n".join(lines), f"-I{HOME}/include")
        count += len(functions)
    return count


def check_cublaslt():
    """Numbers and sizes of attributes: the library takes no others."""
    header = (ROOT / "cuda" / "blas_lt.h").read_text()
    groups = {"DESC": "CUBLASLT_MATMUL_DESC_", "LAYOUT": "CUBLASLT_MATRIX_LAYOUT_",
              "PREFERENCE": "CUBLASLT_MATMUL_PREF_"}
    real = (HOME / "include" / "cublasLt.h").read_text()
    wrong = []
    for group, prefix in groups.items():
        body = re.search(rf"#define BLAS_LT_{group}\(X\)(?:.*\\\n)*.*", header).group(0)
        ours = {int(n) for n in re.findall(r"X\((\d+),", body)}
        theirs = {int(n) for n in re.findall(rf"{prefix}\w+ = (\d+)", real)}
        # 38 is a descriptor of emulation, which is refused.
        wrong += [f"{prefix}: {n}" for n in sorted((ours ^ theirs) - {38})]
    if wrong:
        sys.exit("cudart_abi_check: attributes of cuBLASLt: " + ", ".join(wrong))
    lines = ["#include <cublasLt.h>", '#include "cuda/blas_lt.h"',
             "_Static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(BLASLtAlgo), \"\");",
             "_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == sizeof(BLASLtResult), "
             '"");',
             "_Static_assert(sizeof(cublasLtMatmulDescOpaque_t) >= sizeof(BLASLtDesc), \"\");",
             "_Static_assert(sizeof(cublasLtMatrixLayoutOpaque_t) >= sizeof(BLASLtLayout), \"\");",
             "int main(void) { return 0; }"]
    compiled("\n".join(lines), f"-I{HOME}/include", f"-I{ROOT}", f"-I{ROOT}/include")


def classes(params):
    """How each argument is passed: a pointer or 8 bytes, or 4 bytes."""
    wide = re.compile(r"\*|size_t|CUdeviceptr\b|long long|cuuint64_t|CU(context|stream|event|graph"
                      r"|graphNode|graphExec|function|library|kernel|memoryPool|module|hostFn|"
                      r"streamCallback)\b", re.I)
    params = re.sub(r"void \(\*\w+\)\([^)]*\)", "void *callback", params)
    return ["8" if wide.search(part) else "4" for part in params.split(",")
            if part.strip() not in ("", "void")]


def check_driver():
    text = (HOME / "include" / "cuda.h").read_text()
    real = {m.group(1): " ".join(m.group(2).split()) for m in
            re.finditer(r"CUresult CUDAAPI (\w+)\(([^;]*?)\);", text)}
    wrong = []
    for name in generate_runtime.driver_functions():
        if name not in real:
            continue  # the header gives it another name by a macro
        ours, theirs = generate_runtime.driver_parameters(name), real[name]
        if classes(ours) != classes(theirs):
            wrong.append(f"{name}({ours}) is ({theirs})")
    return wrong


def main():
    if not (HOME / "include" / "cuda_runtime_api.h").exists():
        print("cudart_abi_check: no CUDA toolkit here")
        return 77
    if "CUDART_VERSION  13" not in (HOME / "include" / "cuda_runtime_api.h").read_text():
        print("cudart_abi_check: the toolkit here is not of CUDA 13")
        return 77
    ours = layouts('"cuda/runtime_types.h"', f"-I{ROOT}").splitlines()
    theirs = layouts("<cuda_runtime_api.h>", f"-I{HOME}/include").splitlines()
    wrong = [f"{a} is {b}" for a, b in zip(ours, theirs) if a != b] + check_driver()
    for line in wrong:
        print(f"cudart_abi_check: {line}")
    if (HOME / "include" / "cublas_v2.h").exists():
        print(f"cudart_abi_check: {check_cublas()} prototypes of cuBLAS")
    print(f"cudart_abi_check: {check_frontends()} prototypes of other libraries")
    if (HOME / "include" / "cublasLt.h").exists():
        check_cublaslt()
    print(f"cudart_abi_check: {check_prototypes()} prototypes, {len(ours)} layouts and numbers, "
          f"{len(wrong)} wrong")
    return wrong != []


if __name__ == "__main__":
    sys.exit(main())
