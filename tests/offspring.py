"""Find processes by a mark in their environment, orphans and adopted ones included."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def offspring(mark: str) -> dict[int, str]:
    """Return PID and command line of every process with the mark in its environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = words.decode(errors="replace")[:150]
    return found
