"""The house: floors, no arrow up, no circle, light imports at the top."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "microexpr"

# room -> floor; a room is a file at the top or a folder
FLOORS = {
    "errors": 1,
    "files": 1,
    "clip": 1,
    "inputs": 1,
    "registry": 1,
    "jobs": 1,
    "cluster": 1,
    "hub": 1,
    "encoding": 1,
    "anatomy": 1,
    "mixes": 1,
    "roughness": 1,
    "template": 1,
    "simulation": 1,
    "drawing": 1,
    "video": 1,
    "videowriter": 1,
    "native": 1,
    "annotations": 1,
    "layout": 1,
    "lists": 1,
    "nn": 1,
    "labels": 1,
    "datasets": 2,
    "preprocess": 2,
    "models": 2,
    "film": 3,
    "preparation": 3,
    "training": 3,
    "evaluation": 4,
    "analysis": 4,
    "export": 4,
    "app": 5,
    "demo": 5,
    "doctor": 5,
    "predictor": 5,
    "speed": 5,
    "cli": 6,
    "__main__": 7,
}


def files() -> dict[str, Path]:
    """Every module of the package by its dotted name below `microexpr`."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = list(path.relative_to(SRC).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of this package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "microexpr":
                continue
            dotted = name.removeprefix("microexpr").removeprefix(".")
            while dotted and dotted not in known:
                dotted = dotted.rpartition(".")[0]
            found.add(dotted)
    return found - {""}


def graph() -> dict[str, set[str]]:
    modules = files()
    return {
        name: imports(path, set(modules)) - {name} for name, path in modules.items() if name != ""
    }


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in graph()} <= set(FLOORS)


def test_no_arrow_up_or_across() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in targets
        if room(module) != room(target)
        and not FLOORS[room(target)] < FLOORS[room(module)]
        and not FLOORS[room(target)] == FLOORS[room(module)] == 1
    ]
    assert not wrong


def test_no_circles() -> None:
    arrows = graph()
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for target in arrows.get(module, ()):
                visit(target, (*trail, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


def test_files_and_functions_keep_their_size() -> None:
    long = []
    for name, path in files().items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400:
            long.append(f"{name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                body = node.end_lineno - node.body[0].lineno
                if body > 60:
                    long.append(f"{name}.{node.name}: {body} lines")
    assert not long


def test_the_package_does_nothing_on_import() -> None:
    heavy = ("torch", "cv2", "pandas", "av", "matplotlib", "sklearn")
    code = (
        "import sys, json, microexpr.cli;"
        f"print(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


@pytest.mark.parametrize("module", ["evaluation.report", "evaluation.predictions"])
def test_reports_need_neither_torch_nor_video(module: str) -> None:
    code = (
        f"import sys, microexpr.{module};"
        "print([m for m in ('torch', 'cv2', 'av') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
