"""The last verdict of a directory of reports, kept for programs: `verdict.txt`.

While a command judges, the file says that it has not ended; so a command that was
killed never leaves the verdict of the one before it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.exits import Exit, verdict_line
from harness.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

NAME = "verdict.txt"
UNFINISHED = "unfinished"
_LINE = re.compile(r"^verdict: (?P<word>\S+) status=(?P<status>\d+)(?: report=.*)?$")


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """The line, and the exit status in it."""

    line: str
    status: int


def begin(reports: Path, report: Path) -> None:
    """Say that a command judges and has not ended."""
    reports.mkdir(parents=True, exist_ok=True)
    record(reports, verdict_line(UNFINISHED, Exit.BROKEN, report))


def record(reports: Path, line: str) -> None:
    """Write the last line of a command, where there are reports at all.

    What cannot be written changes no verdict: the file then says `unfinished`.
    """
    if not reports.is_dir():
        return
    with suppress(OSError):
        write_whole(reports / NAME, f"{line}\n")


def conclude(reports: Path, report: Path, line: str) -> None:
    """Write the last line of a run that was killed, where the file waits for it."""
    found = last(reports)
    unfinished = verdict_line(UNFINISHED, Exit.BROKEN)
    name = f"{os.sep}{report.name}"
    if found and found.line.startswith(unfinished) and found.line.endswith(name):
        record(reports, line)


def last(reports: Path) -> LastVerdict | None:
    """Return the last verdict; None where nothing was judged, or the file is none."""
    with suppress(OSError, UnicodeDecodeError):
        text = (reports / NAME).read_text(encoding="utf-8").strip()
        if found := _LINE.match(text):
            return LastVerdict(text, int(found["status"]))
    return None
