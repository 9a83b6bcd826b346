"""The native library is found or refused with one log line, never with a crash."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from microexpr import native

needs_library = pytest.mark.skipif(native.library() is None, reason="the library was not built")


def load(path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> str:
    """Loads `path` in place of the library; the one log line, or nothing where it was taken."""
    monkeypatch.setattr(native, "_candidates", lambda: [path])
    with caplog.at_level(logging.WARNING):
        loaded = native.library.__wrapped__()
    assert (loaded is None) == (len(caplog.messages) == 1)
    return "".join(caplog.messages)


def real() -> Path:
    return next(path for path in native._candidates() if path.is_file())


def test_a_missing_library_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "not built" in load(tmp_path / "none.so", monkeypatch, caplog)


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF\x02\x01" + bytes(200)])
def test_a_file_that_is_no_library_is_said(
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "bad.so"
    path.write_bytes(content)
    assert "does not load" in load(path, monkeypatch, caplog)


@needs_library
def test_a_library_cut_short_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "short.so"
    path.write_bytes(real().read_bytes()[:20000])
    assert "cut short" in load(path, monkeypatch, caplog)


@needs_library
def test_a_library_of_another_version_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "INTERFACE", native.INTERFACE + 1)
    assert "another version" in load(real(), monkeypatch, caplog)


@needs_library
def test_a_good_library_is_taken_silently(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(real(), monkeypatch, caplog) == ""


@needs_library
def test_instruction_sets() -> None:
    assert native.instruction_set("portable") == "portable"
    assert native.instruction_set() in native.INSTRUCTION_SETS


@needs_library
def test_one_openmp_serves_torch_and_the_library() -> None:
    """A second copy of the same OpenMP library would bring a second crowd of spinning threads."""
    code = (
        "import microexpr.native as n; n.library();"
        "maps = open('/proc/self/maps').read().split();"
        "print(len({p for p in maps if '/libgomp.so' in p}))"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc here")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
