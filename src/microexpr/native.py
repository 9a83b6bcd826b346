"""The native library: found, checked and loaded; what processor features it uses.

It is one shared object beside this file, built by the package's own build where there is a C++
compiler (`native/`). Without it everything works, on torch code that is slower.
"""

from __future__ import annotations

import ctypes
import logging
import struct
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

INTERFACE = 1  # of the C functions; native/api.cpp says the same number
INSTRUCTION_SETS = ("portable", "avx2", "avx512")
MESSAGES = {
    1: "orders: every row must be a permutation of 0 .. l - 1",
    2: "the native library could not allocate its working memory",
}


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None, with one log line that says why it is not there.

    Never raises: a file that is missing, cut short, of another version of this package or built
    for another machine counts as not there.
    """
    found = next(filter(Path.is_file, _candidates()), None)
    if found is None:
        _refuse("it was not built (no C++ compiler at install time?)")
        return None
    try:
        if _cut_short(found):
            _refuse(f"{found.name} is cut short; install the package again")
            return None
        # torch first: the library then shares torch's OpenMP threads instead of starting its own.
        import torch  # noqa: F401

        loaded = ctypes.CDLL(str(found))
        interface = loaded.microexpr_interface()
    except (OSError, AttributeError) as error:
        _refuse(f"{found.name} does not load: {error}")
        return None
    if interface != INTERFACE:
        _refuse(f"{found.name} is from another version; install the package again")
        return None
    return loaded


def instruction_set(limit: str = INSTRUCTION_SETS[-1]) -> str:
    """The instruction set in use from now on: the best of this machine, at most `limit`.

    Args:
        limit: one of `INSTRUCTION_SETS`; lower ones are for comparison and tests.

    Returns:
        One of `INSTRUCTION_SETS`, or "none" where the library is not available.
    """
    loaded = library()
    if loaded is None:
        return "none"
    return INSTRUCTION_SETS[loaded.microexpr_instruction_set(INSTRUCTION_SETS.index(limit))]


def _candidates() -> list[Path]:
    return [Path(__file__).with_name(f"_native{suffix}") for suffix in EXTENSION_SUFFIXES]


def _cut_short(path: Path) -> bool:
    """Whether an ELF file ends before its own table of sections: loading it would be fatal."""
    with path.open("rb") as file:
        header = file.read(64)
    if len(header) < 64 or not header.startswith(b"\x7fELF\x02\x01"):
        return False  # another format, or no library at all: the loader says so itself
    offset, size, count = struct.unpack("<40xQ10xHH2x", header)
    return bool(path.stat().st_size < offset + size * count)


def _refuse(reason: str) -> None:
    logging.getLogger(__name__).warning("native library not used: %s", reason)
