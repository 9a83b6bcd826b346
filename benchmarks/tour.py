"""Runs the commands of docs/tour.md as they stand there, and takes its pictures.

    python benchmarks/tour.py

The face is always the drawn one. Parts of the page are photographed by the system's Chromium
through Playwright (extra ``test``); what the commands themselves draw is copied.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from microexpr.demo import demo_script
from microexpr.errors import UserError
from microexpr.film import drawn_portrait, film

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
BLOCK = re.compile(r'^```(sh|toml)(?: title="(.+?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
DRAWN = {  # what a command draws -> its name in the document
    "both/comparison.png": "tour_comparison",
    "results/leak/confusion.png": "tour_last",
    "results/leak/confusion_oracle.png": "tour_oracle",
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def walk(folder: Path) -> None:
    """Writes the experiments and runs the commands, in the order of the page."""
    (folder / "demo").mkdir()
    film(drawn_portrait(), demo_script(), folder / "demo" / "film.mp4")  # found there and kept
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    page = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    for language, title, text in BLOCK.findall(page):
        if language == "toml":
            (folder / title).write_text(text, encoding="utf-8")
        elif "activate" not in text:
            env = os.environ | {"PATH": place}
            subprocess.run(["bash", "-euc", text], cwd=folder, env=env, check=True)


def photograph(page: Path) -> None:
    """The timeline and the last movement of a report, as a reader sees them."""
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium")
    if browser is None:
        raise UserError("no Chromium here: the pictures of the page cannot be taken")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=FLAGS)
        view = chromium.new_page(viewport={"width": 860, "height": 900}, color_scheme="light")
        view.goto(page.resolve().as_uri())
        view.add_style_tag(content="body { padding: 1rem; } .event { margin: 0; }")
        view.evaluate("document.querySelectorAll('video').forEach(v => (v.controls = false))")
        view.wait_for_timeout(500)
        view.locator(".timeline").screenshot(path=PICTURES / "tour_timeline.png")
        event = view.locator(".event >> nth=-1")
        event.screenshot(path=PICTURES / "tour_event.jpg", type="jpeg", quality=80)
        chromium.close()


def main() -> None:
    """Makes every picture anew."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        walk(folder)
        photograph(folder / "demo" / "analysis" / "report.html")
        for made, name in DRAWN.items():
            shutil.copy(folder / made, PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
