"""What there is: models, data sets, protocols."""

from __future__ import annotations

from typing import Any

from microexpr.cli.options import Json
from microexpr.cli.terminal import print_rows


def models(as_json: Json = False) -> None:
    """List the models: paper, input, and how sure we are of them."""
    from microexpr.models import model_class, model_names

    print_rows(
        [
            {
                "name": name,
                "paper": (cls := model_class(name)).paper,
                "input": f"{', '.join(cls.eats.channels)} {cls.eats.size}x{cls.eats.size} "
                f"{cls.eats.flow} {cls.eats.normalisation}"
                + (f" {cls.eats.frames} frames" if cls.eats.frames > 1 else ""),
                "standing": cls.standing,
                "uncertain": cls.uncertain,
            }
            for name in model_names()
        ],
        as_json,
    )


def datasets(as_json: Json = False) -> None:
    """List the data sets: what they hold, their paper, how to obtain them.

    Those marked unverified were written from descriptions; their real files were never at hand.
    """
    from microexpr.datasets import dataset_class, dataset_names

    rows = []
    for name in dataset_names():
        cls = dataset_class(name)
        ships = cls.ships
        rows.append(
            {
                "name": name,
                "title": cls.title,
                "paper": cls.paper,
                "access": cls.access,
                "input": "frames"
                if ships is None
                else f"{', '.join(ships.channels)} {ships.size}x{ships.size} {ships.normalisation}",
                "standing": "unverified" if cls.unverified else "",
            }
        )
    print_rows(rows, as_json)


def protocols(as_json: Json = False) -> None:
    """List the protocols and the label schemes."""
    from microexpr.evaluation.protocols import PROTOCOLS, protocol_settings
    from microexpr.labels import SCHEMES

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "kind": "protocol",
            "about": entry.about,
            "settings": ", ".join(f"{k}={v}" for k, v in protocol_settings(entry.name).items()),
        }
        for entry in PROTOCOLS.values()
    ]
    rows += [
        {"name": s.name, "kind": "labels", "about": ", ".join(s.labels), "settings": ""}
        for s in SCHEMES.values()
    ]
    print_rows(rows, as_json)
