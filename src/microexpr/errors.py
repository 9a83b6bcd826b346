"""What a user did wrong, in one line, and the name they probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the message says in one line what is wrong and what to do.

    The command line prints the message alone and exits with code 2.
    """


def suggest(name: str, known: Iterable[str]) -> str:
    """Ends an error about an unknown name: the nearest known one, and all of them.

    >>> suggest("merbra", ["merba", "ststnet"])
    "did you mean 'merba'? (known: merba, ststnet)"
    >>> suggest("x", ["merba", "ststnet"])
    'known: merba, ststnet'
    """
    names = sorted(known)
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    listing = f"known: {', '.join(names)}"
    return f"did you mean '{by_lower[near[0]]}'? ({listing})" if near else listing
