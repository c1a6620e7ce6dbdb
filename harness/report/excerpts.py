"""Excerpts of a machine's records, for inside the page: short, redacted, plain text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.evidence import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.report.timeline import LogEntry, MachineLog

MOST_LINES = 40
MOST_CHARS = 6000
_LONGEST_LINE = 240
_MOST_BYTES = 4 * 1024 * 1024
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NOTICE = 5
_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a file; `path` is relative to the report."""

    title: str
    path: str
    text: str


def console(directory: Path, machine: str) -> Excerpt | None:
    """Give the end of a machine's console; None where it printed nothing."""
    path = directory / machine / "console.log"
    if not path.is_file() or path.is_symlink():
        return None
    with path.open("rb") as file:
        size = path.stat().st_size
        if size > _MOST_BYTES:  # its end alone; what begins in the middle is dropped
            file.seek(size - _MOST_BYTES)
            file.readline()
        content = file.read(_MOST_BYTES)
    lines = readable(content).splitlines()
    text = bounded([line for line in lines if line.strip()])
    return (
        Excerpt("end of the console", f"{machine}/console.log", text) if text else None
    )


def journal(log: MachineLog, machine: str, at: float | None) -> Excerpt | None:
    """Give what a guest logged up to the failure: the last entries, without debug.

    `at` is the time of the failed check, since 1970; entries soon after it belong to
    it too.
    """
    entries = [e for e in log.entries if at is None or e.at <= at + _AFTER_S]
    chosen = _telling(entries)
    shown = bounded(
        readable("\n".join(map(_line, chosen)).encode(errors="replace")).splitlines()
    )
    if not shown:
        return None
    title = "journal up to the failed check" if at else "end of the journal"
    return Excerpt(title, f"{machine}/journal.json", shown)


def _telling(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Choose the last entries; of earlier ones those that warn."""
    shown = [e for e in entries if e.priority <= _NOTICE + 1]
    recent = shown[-(MOST_LINES * 3 // 4) :]
    earlier = shown[: -len(recent)] if recent else []
    warned = [e for e in earlier if e.priority < _NOTICE]
    return [*warned[-(MOST_LINES - len(recent)) :], *recent]


def _line(entry: LogEntry) -> str:
    stamp = f"{datetime.fromtimestamp(entry.at, UTC):%H:%M:%S.%f}"[:-3]
    return f"{stamp} {entry.sender or entry.unit}: {entry.text}"


def readable(content: bytes) -> str:
    """Give text without secrets and terminal codes, a secret between codes too."""
    text = plain(clean(content).decode(errors="replace"))
    return clean(text.encode(errors="replace")).decode()


def plain(text: str) -> str:
    """Take out what only a terminal obeys, and what would turn text around."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def bounded(lines: Iterable[str]) -> str:
    """Keep the last lines, each cut where it is long."""
    cut = [
        line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
        for line in lines
    ]
    text = "\n".join(cut[-MOST_LINES:])
    return text if len(text) <= MOST_CHARS else f"…{text[-MOST_CHARS:]}"
