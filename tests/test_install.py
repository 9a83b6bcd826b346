"""Installing where there is no compiler: it succeeds, torch code serves, and doctor says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "native", "src")
LOOK = """
import json, logging, sys
said = []
logging.getLogger("microexpr").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: said.append(record.getMessage())})())
logging.getLogger("microexpr").setLevel(logging.INFO)
import torch, microexpr
from microexpr.models import create_model
from microexpr.nn.scan import backends
from microexpr.preprocess.flow import flow_backend
torch.manual_seed(0)
model = create_model("merba", 3, size="nano").eval()
x = torch.rand(2, 3, 28, 28)
model.loss(x, torch.tensor([0, 1]), 0.0).backward()
print(json.dumps({"file": microexpr.__file__, "backends": backends(), "flow": flow_backend("tvl1"),
                  "said": said, "finite": bool(model(x).isfinite().all())}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where pip put the package, without network and without a compiler."""
    false = shutil.which("false")
    if false is None:
        pytest.skip("no program that only fails")
    tree, site = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("site")
    for part in PARTS:
        if (ROOT / part).is_dir():
            leave = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
            shutil.copytree(ROOT / part, tree / part, ignore=leave)
        else:
            shutil.copy(ROOT / part, tree / part)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(site), str(tree)]
    blind = os.environ | {"CC": false, "CXX": false, "LDSHARED": false, "LDCXXSHARED": false}
    subprocess.run(command, env=blind, check=True, capture_output=True, text=True)
    return site


def python(site: Path, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=env, cwd=site, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_nothing_native_is_there(installed: Path) -> None:
    assert (installed / "microexpr" / "py.typed").is_file()
    assert not list(installed.rglob("_native*"))


@pytest.mark.slow
def test_the_torch_path_serves_and_one_line_says_so(installed: Path) -> None:
    found = json.loads(python(installed, "-c", LOOK))
    assert Path(found["file"]).is_relative_to(installed)
    assert "native" not in found["backends"]
    assert found["flow"].startswith("tvl1-opencv")
    assert found["finite"]
    assert [line for line in found["said"] if "not used" in line] == [
        "native library not used: it was not built (no C++ compiler at install time?)"
    ]
    assert any("scan backend: blocked" in line for line in found["said"])


@pytest.mark.slow
def test_doctor_says_what_mends_it(installed: Path) -> None:
    findings = json.loads(python(installed, "-m", "microexpr", "doctor", "--json"))
    (native,) = [finding for finding in findings if finding["name"] == "native library"]
    assert native["state"] == "note"
    assert "compiler" in native["mend"]
