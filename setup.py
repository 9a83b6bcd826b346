"""Builds the native library, where there is a compiler; pyproject.toml says all the rest."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Extension(
    "microexpr._native",
    sources=[f"native/{name}.cpp" for name in ("api", "portable", "avx2", "avx512")],
    depends=sorted(map(str, Path("native").glob("*.h"))),
    # -O3 for the loops; no -march: every instruction set has its own source file, chosen at run
    # time. -fno-math-errno and -fno-trapping-math change no result.
    extra_compile_args=[
        "-std=c++17",
        "-O3",
        "-g0",
        "-fopenmp",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
        "-Wno-maybe-uninitialized",  # false alarms from the headers of GCC 12
    ],
    extra_link_args=["-fopenmp"],
    py_limited_api=True,  # it uses no Python at all: one file serves every version
    optional=True,  # without a compiler the install succeeds; torch code serves instead
)

setup(ext_modules=[NATIVE], options={"bdist_wheel": {"py_limited_api": "cp311"}})
