"""The app as people use it, in a real browser: Debian's Chromium through Playwright."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from microexpr.film import drawn_portrait, film, write_script
from microexpr.videowriter import write_video

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PATIENCE = 120_000  # milliseconds; the machine may be busy
HEAD = ("clip", "person", "fold", "seed", "selection", "true", "pred", "p_bad", "p_good")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos to hand in, good and bad."""
    folder = tmp_path_factory.mktemp("films")
    script = write_script(
        3, fps=50, seconds=4, events=2, peak=(1.5, 2.5), emotions=("happiness", "surprise")
    )
    film(drawn_portrait(), script, folder / "two.mp4")
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (24, 48, 64, 3), np.uint8)
    write_video(folder / "noface.mp4", noise, 24)
    write_video(folder / "long.mp4", (noise[i % 24] for i in range(12 * 70)), 12)
    (folder / "bad.mp4").write_text("this is no video")
    (folder / "large.mp4").write_bytes(bytes(9_000_000))
    return {path.stem: path for path in folder.glob("*.mp4")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server is started: there lie two runs, one of which recorded the oracle."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(1)
    for name, selections in (("honest", ("last",)), ("shown", ("last", "oracle"))):
        run = folder / "benchmarks" / "results" / name
        run.mkdir(parents=True)
        with (run / "predictions.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(HEAD)
            for selection in selections:
                for clip in range(60):
                    true, lucky = clip % 2, random.random()
                    right = lucky < (0.9 if selection == "oracle" else 0.7)
                    pred = true if right else 1 - true
                    who = f"set/s{clip // 5}"
                    likely = [0.2, 0.8] if pred else [0.8, 0.2]
                    table.writerow([f"{who}/c{clip}", who, who, 0, selection, true, pred, *likely])
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    """Address of a server with small limits and two workers."""
    temporary = place / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "microexpr", "app", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--megabytes", "8", "--minutes", "1"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=place,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, line
        yield line.split("http://")[1].split()[0].join(("http://", "/"))
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skipped where it is not."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield running
        running.close()


@pytest.fixture
def enter(browser: Any, server: str) -> Iterator[Opener]:
    """Opens the page as a new user; no request may leave, no script may fail."""
    asked, failed, contexts = [], [], []

    def open_page(**settings: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(server)
        page.wait_for_selector("#go")
        return page

    yield open_page
    for context in contexts:
        context.close()
    outside = {url for url in asked if not url.startswith((server, "data:", "blob:http://127."))}
    assert asked
    assert outside == set()
    assert failed == []


def hand_in(page: Any, video: Path) -> None:
    """Chooses a video and has it analysed."""
    page.set_input_files("#film input[type=file]", str(video))
    page.wait_for_selector("#film video")
    page.click("#go")


def result(page: Any) -> None:
    """Waits for what was found; says what the page shows instead if there is nothing."""
    from playwright.sync_api import TimeoutError as TooLong

    try:
        page.wait_for_selector("#movements h2")
    except TooLong:
        raise AssertionError(f"no result; the page says: {page.inner_text('body')}") from None


def said(page: Any) -> str:
    """The one line that tells what is wrong."""
    line = page.wait_for_selector("#status .bad, #said .bad").inner_text()
    assert "\n" not in line
    assert "Traceback" not in line
    return str(line)


def saved(page: Any, name: str, folder: Path) -> Path:
    """A file as the browser saves it."""
    with page.expect_download() as waiting:
        page.click(f"#links a:has-text('{name}')")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_upload_look_correct_and_take_along(
    enter: Opener, films: dict[str, Path], tmp_path: Path
) -> None:
    page = enter()
    hand_in(page, films["two"])
    page.wait_for_selector("#status .going")
    result(page)
    page.wait_for_selector("#detail h2:has-text('1. Micro')")
    assert page.locator("#movements button").count() == 2
    assert page.locator("#detail img").count() == 5
    assert page.locator("#detail td.n").first.inner_text().count("to") == 1  # lowest to highest

    page.click("#timeline .flag >> nth=1")
    page.wait_for_selector("#detail h2:has-text('2. Micro')")
    onset = float(page.get_attribute("#movements [data-at='1']", "data-time"))
    assert page.evaluate("document.querySelector('#player video').currentTime") == pytest.approx(
        onset, abs=0.01
    )
    assert page.get_attribute("#movements [data-at='1']", "aria-current") == "true"
    page.click("#player [data-step] >> nth=1")
    page.click("#onset-here")
    page.wait_for_function(
        "at => Math.abs(document.querySelector('#onset input').value - at) < .006", arg=onset + 0.02
    )
    page.click("#apply")
    page.wait_for_selector("#said .done")
    assert "Corrected by hand: onset" in page.inner_text("#detail")
    assert page.locator("#movements .hand").count() == 1

    table = saved(page, "Table", tmp_path)
    assert table.name == "two_events.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["corrected"] for row in rows] == ["", "onset"]
    assert float(rows[1]["onset_s"]) == pytest.approx(onset + 0.02, abs=0.006)
    eaf = ElementTree.parse(saved(page, "ELAN", tmp_path)).getroot()
    assert eaf.tag == "ANNOTATION_DOCUMENT"
    assert [v.text for v in eaf.iter("ANNOTATION_VALUE")].count("micro") == 2
    shown = saved(page, "Report (HTML)", tmp_path).read_text(encoding="utf-8")
    assert "Corrected by hand: onset" in shown
    assert "://" not in shown
    assert saved(page, "Annotated", tmp_path).stat().st_size > 10_000


def test_movements_are_added_named_removed_and_all_undone(
    enter: Opener, films: dict[str, Path]
) -> None:
    page = enter()
    hand_in(page, films["two"])
    result(page)
    for field, value in (("onset", "1.5"), ("apex", "1.6"), ("offset", "1.4")):
        page.fill(f"#{field} input", value)
    page.click("#add")
    assert "before the apex" in said(page)
    page.fill("#offset input", "1.8")
    page.fill("#emotion input", "contempt")
    page.keyboard.press("Enter")
    page.click("#add")
    page.wait_for_selector("#movements [data-at='2']")
    assert "contempt" in page.inner_text("#movements [data-at='1']")
    assert "Added by hand; so was its emotion" in page.inner_text("#detail")
    page.click("#movements [data-at='0']")
    page.wait_for_selector("#detail h2:has-text('1. Micro')")
    page.click("#remove")
    page.wait_for_selector("#movements [data-at='2']", state="detached")
    assert "By hand: 1 added, 1 removed" in page.inner_text("#results")
    page.click("#undo")
    page.wait_for_selector("#said .done:has-text('As it was found')")
    assert page.locator("#movements .hand").count() == 0
    assert page.locator("#movements button").count() == 2


@pytest.mark.parametrize(
    ("name", "told"), [("bad", "not a video"), ("long", "minutes long"), ("", "Choose a video")]
)
def test_what_is_wrong_is_one_clear_line(
    enter: Opener, films: dict[str, Path], name: str, told: str
) -> None:
    page = enter()
    if name:
        page.set_input_files("#film input[type=file]", str(films[name]))
        page.wait_for_selector("#film video")
    page.click("#go")
    assert told in said(page)
    assert page.is_visible("#go")  # the next try is one click away


def test_a_video_that_is_too_large_is_refused_at_the_door(
    enter: Opener, films: dict[str, Path]
) -> None:
    page = enter()
    page.set_input_files("#film input[type=file]", str(films["large"]))
    page.wait_for_selector("text=/maximum|larger than/i")


def test_no_face_is_a_result(enter: Opener, films: dict[str, Path]) -> None:
    page = enter()
    hand_in(page, films["noface"])
    result(page)
    assert "No face was found" in page.inner_text("#results")
    page.fill("#onset input", "0.1")
    page.fill("#apex input", "0.2")
    page.fill("#offset input", "0.3")
    page.click("#add")
    assert "no face" in said(page)


def test_two_at_once_and_a_third_that_waits(enter: Opener, films: dict[str, Path]) -> None:
    first, second, third = (enter() for _ in range(3))
    for page, video in ((first, "two"), (second, "noface"), (third, "two")):
        page.set_input_files("#film input[type=file]", str(films[video]))
        page.wait_for_selector("#film video")
    for page in (first, third):
        page.click("#go")
    second.click("#go")
    second.wait_for_selector("#status:has-text('Waiting: you are next')")
    for page, text in ((first, "2 micro-expressions"), (second, "No face"), (third, "2 micro")):
        result(page)
        assert text in page.inner_text("#results")
    name = first.get_attribute("#player source", "src")
    assert name != third.get_attribute("#player source", "src")


def test_a_waiting_analysis_is_cancelled(enter: Opener, films: dict[str, Path]) -> None:
    page = enter()
    hand_in(page, films["two"])
    page.click("#cancel")
    assert "Cancelled" in said(page)
    assert page.is_visible("#go")


def test_nothing_is_kept_of_a_closed_tab(
    enter: Opener, films: dict[str, Path], place: Path
) -> None:
    page = enter()
    hand_in(page, films["noface"])
    result(page)
    held = list(place.glob("tmp/*/server-*/sessions/*/video/noface.mp4"))
    assert len(held) == 1
    assert [file.name for file in place.glob("tmp/*/server-*/gradio/*/*")] == ["noface.mp4"]
    page.context.close()
    for _ in range(300):
        if not held[0].exists():
            break
        time.sleep(0.1)
    assert not held[0].parent.parent.exists()
    assert list(place.glob("tmp/*/server-*/gradio/*/*")) == []


def press_until(page: Any, selector: str, most: int = 60) -> None:
    """Goes from one thing to the next with the Tab key until it stands on what is wanted."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement?.matches(what) || false", selector):
            return
    raise AssertionError(f"the Tab key does not lead to {selector}")


def test_the_keyboard_is_enough(enter: Opener) -> None:
    page = enter()
    press_until(page, "#sample")
    page.keyboard.press("Enter")
    result(page)
    page.wait_for_selector("#detail h2:has-text('1. Micro')")
    press_until(page, "#timeline [data-at='1']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail h2:has-text('2. Micro')")
    press_until(page, "#movements [data-at='0']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail h2:has-text('1. Micro')")
    assert page.evaluate("document.activeElement.matches('#movements [data-at=\"0\"]')")
    press_until(page, "#apex input")
    page.keyboard.press("ArrowUp")
    press_until(page, "#apply")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said .done")
    assert "Corrected by hand: apex" in page.inner_text("#detail")
    press_until(page, "#links a[download$='.eaf']")


WIDER = """() => [...document.querySelectorAll("#results *")]
  .filter((e) => e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1)
  .filter((e) => !e.closest(".scrolled")).map((e) => e.outerHTML.slice(0, 80))"""
PAPER = "getComputedStyle(document.body).backgroundColor"


def test_phone_and_desk_light_and_dark(
    enter: Opener, films: dict[str, Path], tmp_path: Path
) -> None:
    page = enter(viewport=PHONE, color_scheme="light")
    hand_in(page, films["two"])
    result(page)
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, size in (("phone", PHONE), ("desk", DESK)):
            page.set_viewport_size(size)
            page.wait_for_timeout(500)
            wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1]
            assert page.evaluate(WIDER) == []
            page.screenshot(path=tmp_path / f"{name}_{scheme}.png", full_page=True)
            papers.append(page.evaluate(PAPER))
    assert papers == ["rgb(255, 255, 255)"] * 2 + ["rgb(21, 23, 26)"] * 2


def test_runs_are_compared_and_the_leak_is_called_one(enter: Opener) -> None:
    page = enter()
    page.get_by_role("tab", name="Compare runs").last.click()
    for box in page.locator("#runs input").all():
        box.check()
    page.click("#compare")
    page.wait_for_selector("#comparison table.scores")
    told = page.inner_text("#comparison")
    assert "oracle (leaky)" in told
    assert "is a leak" in told
    assert page.locator("#comparison table.matrix").count() == 3
    assert page.locator("#comparison table.leaky").count() == 1
    for box in page.locator("#runs input").all():
        box.uncheck()
    page.click("#compare")
    page.wait_for_selector("#comparison .bad")
    page.get_by_role("tab", name="What this means").last.click()
    page.wait_for_selector("text=It is no lie detector")
