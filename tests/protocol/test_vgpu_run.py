# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-run: programs find our libraries wherever they look for NVIDIA's."""

import os
import subprocess

import pytest

from test_cuda_guest import BUILD, LIBRARY

RUN = BUILD / "guest" / "cuda" / "vgpu-run"

pytestmark = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libraries have no sanitizer")

THEIRS = "int cudaRuntimeGetVersion(int *v) { *v = 4711; return 0; }\n"
PROGRAM = """
#include <dlfcn.h>
#include <stdio.h>
int cudaRuntimeGetVersion(int *v);
int main(int argc, char **argv)
{
    int v = 0, (*f)(int *) = cudaRuntimeGetVersion;
    for (int i = 1; i < argc; i++) {
        void *l = dlopen(argv[i], RTLD_NOW);
        f = l ? dlsym(l, "cudaRuntimeGetVersion") : 0;
    }
    printf("%d\\n", f && f(&v) == 0 ? v : -1);
    return 0;
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A program whose RPATH has NVIDIA's runtime, as PyTorch's libraries have."""
    path = tmp_path_factory.mktemp("rpath")
    (path / "theirs.c").write_text(THEIRS)
    (path / "map").write_text("libcudart.so.13 { *; };\n")
    (path / "program.c").write_text(PROGRAM)
    for command in (["cc", "-shared", "-fPIC", "-Wl,-soname,libcudart.so.13",
                     "-Wl,--version-script,map", "-o", "libcudart.so.13", "theirs.c"],
                    ["cc", "-o", "program", "program.c", "./libcudart.so.13", "-ldl",
                     "-Wl,--disable-new-dtags,-rpath,$ORIGIN"]):
        subprocess.run(command, cwd=path, check=True)
    return path


def run(folder, *args, **env):
    return subprocess.run([RUN, "--socket", "/nowhere", "--", folder / "program", *args],
                          capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, **env})


def test_a_path_that_is_built_in(folder):
    assert subprocess.run([folder / "program"], capture_output=True, text=True,
                          check=True).stdout == "4711\n"
    done = run(folder)
    assert (done.stdout, done.stderr) == ("13000\n", "")


def test_without_the_loaders_help_it_comes_first(folder):
    assert run(folder, VGPU_NO_AUDIT="1").stdout == "4711\n"


def test_a_library_by_its_whole_path(folder):
    """As JAX and other packages of Python load theirs; twice is once."""
    path = folder / "libcudart.so.13"
    assert run(folder, path, "libcudart.so.13", path).stdout == "13000\n"


@pytest.mark.parametrize("name", ["libcuda.so.580.159.04", "/usr/lib/libcuda.so.580.159.04",
                                  "libcuda.so"])
def test_the_driver_under_its_other_names(folder, name):
    """Some programs follow the links; it is our driver that they then find."""
    code = (f"import ctypes; l = ctypes.CDLL({name!r}); n = ctypes.c_int()\n"
            "print(l.cuDriverGetVersion(ctypes.byref(n)) in (0, 3, 999, 100),\n"
            "      hasattr(l, 'vgpu_libcuda_of_a_guest_calls'))")
    done = subprocess.run([RUN, "--socket", "/nowhere", "--", "/usr/bin/python3", "-c", code],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "True True\n", done.stderr


def test_other_libraries_are_left_alone(folder):
    code = "import ctypes; print(ctypes.CDLL('libm.so.6').abs(-3)); ctypes.CDLL('libcunone.so.1')"
    done = subprocess.run([RUN, "--socket", "/nowhere", "--", "/usr/bin/python3", "-c", code],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "3\n"
    assert "libcunone.so.1: cannot open shared object file" in done.stderr
