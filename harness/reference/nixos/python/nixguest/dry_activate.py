"""What activation would change; snippets have no dry form here."""

from __future__ import annotations

import os

from .spawn import say


def main(toplevel: str) -> None:
    """Entry point of `dry-activate`."""
    if os.path.realpath("/etc/static") != os.path.realpath(f"{toplevel}/etc"):
        say("would update /etc")
