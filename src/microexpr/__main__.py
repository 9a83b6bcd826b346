"""``python -m microexpr`` is the command `microexpr`."""

from microexpr.cli import main

main()
