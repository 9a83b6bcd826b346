"""The page in the browser: a video in, its movements to look at, to correct and to take along."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

import microexpr
from microexpr.app.page import style
from microexpr.app.serving.queue import Queue
from microexpr.app.serving.uploads import Limits, Uploads
from microexpr.app.studio import comparing, meaning, video
from microexpr.app.studio.results import words
from microexpr.app.studio.sitting import Sittings

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
RUNS = Path("benchmarks")  # below the folder in which the app is started


def build(queue: Queue, uploads: Uploads, limits: Limits, runs: Path | None = None) -> gr.Blocks:
    """The page.

    Args:
        queue: Does the analyses.
        uploads: Holds the files.
        limits: What is taken.
        runs: Folder of runs to compare; None: `RUNS` where it is there.
    """
    sittings = Sittings(queue, uploads)

    def leave(request: gr.Request) -> None:
        sittings.end(request.session_hash or "")

    runs = runs or (RUNS if RUNS.is_dir() else None)
    page: gr.Blocks = gr.Blocks(title="microexpr", analytics_enabled=False, fill_width=False)
    with page:
        words(
            '<h1>microexpr</h1><p class="soft">Facial micro-expressions in a video. Nothing leaves '
            f'this computer. <span class="version">Version {microexpr.__version__}</span></p>'
        )
        with gr.Tabs():
            with gr.Tab("Your video"):
                video.build(sittings, limits)
            with gr.Tab("Compare runs"):
                comparing.build(runs)
            with gr.Tab("What this means"):
                meaning.build()
        page.unload(leave)
    return page


def look() -> dict[str, Any]:
    """How the page looks: keywords for `gradio.mount_gradio_app`.

    The rules of the report's page hold within ``.report``. All fonts are the system's.
    """
    own = (files("microexpr.app.studio") / "studio.css").read_text(encoding="utf-8")
    colours, _, rules = style().partition("h2 {")
    sheet = f"{colours}\n.report {{\nh2 {{{rules}}}\n{own}"
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.zinc,
        font=FONTS,
        font_mono=MONO,
    ).set(
        body_background_fill="#ffffff",
        body_background_fill_dark="#15171a",
        button_primary_background_fill="#0067a1",
        button_primary_background_fill_hover="#00568a",
        button_primary_background_fill_dark="#0067a1",
        button_primary_background_fill_hover_dark="#1a7ab5",
        button_primary_text_color="#ffffff",
    )
    return {"theme": theme, "head": f"<style>{sheet}</style>"}
