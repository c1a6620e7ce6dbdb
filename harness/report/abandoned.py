"""Reports whose run was killed: folded from their journals by a later command."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, HostError, InputError
from harness.evidence import scrub
from harness.exits import Exit, verdict_line
from harness.report import journal, merge, verdicts
from harness.report.holding import abandoned
from harness.report.model import RESULTS, Results, RunSummary, load
from harness.report.writer import LATEST, point_latest, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.journal import Event, MachineUsed
    from harness.report.merge import Ledger

_RUNS = "2*Z-????"  # the names of runs; a series of runs has its kind in the name
# What a machine's directory holds that a reader can use. Never its disk or its seed.
_KEPT = ("console.log", "qmp.jsonl", "argv.txt")


@dataclass(frozen=True, slots=True)
class Folded:
    """A report that a later command made whole."""

    report: Path
    ended: int
    selected: int
    lost: str = ""
    """Why its page could not be drawn."""

    def __str__(self) -> str:
        counted = f"{self.ended} of {self.selected} tests ended"
        lost = f"; {self.lost}" if self.lost else ""
        return f"report {self.report}: its run was killed; folded: {counted}{lost}"


def settle(directory: Path) -> list[str]:
    """Fold what killed runs left in a report, or in a directory of reports.

    Returns a line for each. Raises InputError where the report's run goes on.
    """
    if directory.name == LATEST:
        return sweep(directory.parent)
    if not (directory / journal.DIRECTORY).is_dir():
        return sweep(directory)
    folded = fold(directory)
    if folded is None and (directory / journal.DIRECTORY).is_dir():
        raise InputError(
            f"{directory} is no whole report: its run goes on",
            hint="wait for its end; one that was killed is folded",
        )
    return [] if folded is None else [str(folded)]


def sweep(reports: Path) -> list[str]:
    """Fold every report whose run was killed, and mend `latest`; a line for each.

    What cannot be folded is said, and keeps no other from it.
    """
    lines = []
    for journals in sorted(reports.glob(f"2*/{journal.DIRECTORY}")):
        report = journals.parent
        try:
            if folded := fold(report):
                lines.append(str(folded))
        except Exception as error:  # noqa: BLE001 - it must not end another run
            first = str(error).partition("\n")[0] or type(error).__name__
            lines.append(
                f"report {report}: its run was killed; it cannot be folded: {first}"
            )
    with suppress(OSError):
        mend_latest(reports)
    return lines


def fold(directory: Path) -> Folded | None:
    """Make a report whole whose run was killed; None where there is none.

    A killed run is `interrupted`. Results that it wrote itself are kept. The journals
    go last, so that the next command folds again what was cut short.
    """
    journals = directory / journal.DIRECTORY
    with abandoned(journals) as gone:
        if not gone:
            return None
        events = journal.read(journals)
        if not events:  # killed before it found a test
            shutil.rmtree(journals, ignore_errors=True)
            with suppress(OSError):
                directory.rmdir()
            return None
        ledger = merge.fold(events)
        results = _written(directory) or _results(ledger, events, directory)
        lost = _write(results, directory)
        shutil.rmtree(journals, ignore_errors=True)
    _succeed(results, directory)
    chosen = [
        s for s in ledger.stories.values() if s.collected and s.collected.selected
    ]
    ended = [story for story in ledger.stories.values() if story.finished]
    return Folded(directory, len(ended), len(chosen), lost)


def mend_latest(reports: Path) -> None:
    """Have `latest` point to the newest whole report where it points to nothing."""
    link = reports / LATEST
    if not link.is_symlink() or link.is_dir():
        return
    whole = [file.parent for file in reports.glob(f"{_RUNS}/{RESULTS}")]
    if whole:
        point_latest(max(whole))
    else:
        link.unlink()


def salvage(machine: MachineUsed, directory: Path) -> None:
    """Save the logs of a machine whose process died before it could collect them."""
    into, source = directory / machine.into, Path(machine.directory)
    if into.is_dir() or not source.is_dir():
        return
    found = [source / name for name in _KEPT if (source / name).is_file()]
    if found:
        into.mkdir(parents=True)
        for path in found:
            shutil.copyfile(path, into / path.name)
        scrub(into)


def _written(directory: Path) -> Results | None:
    """Return results that the run wrote before it was killed."""
    if not (directory / RESULTS).is_file():
        return None
    try:
        return load(directory / RESULTS)
    except InputError:
        return None


def _results(ledger: Ledger, events: Sequence[Event], directory: Path) -> Results:
    for story in ledger.stories.values():
        for machine in story.machines:
            with suppress(OSError, HarnessError):
                salvage(machine, directory)
    first, last = events[0].at, events[-1].at
    opened = ledger.opened or journal.Opened(
        started=datetime.fromtimestamp(first, UTC).isoformat(timespec="seconds")
    )
    began = datetime.fromisoformat(opened.started).timestamp()
    run = RunSummary(
        id=directory.resolve().name,
        started=opened.started,
        duration_s=round(max(0.0, last - began), 3),
        guest=opened.guest,
        full=opened.full,
        selection=opened.selection,
        asked=opened.asked,
        interrupted=True,
        fault=opened.fault,
        verdict=Exit.INTERRUPTED.word,
        status=int(Exit.INTERRUPTED),
        **merge.summary(ledger.facts),
    )
    return merge.results(ledger, run, directory)


def _write(results: Results, directory: Path) -> str:
    """Write the report; return why its page could not be drawn."""
    try:
        write(results, directory)
    except (OSError, HostError):
        raise
    except Exception as error:  # noqa: BLE001 - the results are written by then
        return f"its page cannot be drawn: {type(error).__name__}: {error}"
    return ""


def _succeed(results: Results, directory: Path) -> None:
    """Keep its verdict and its link, if no later run has its own."""
    reports, run = directory.resolve().parent, results.run
    line = verdict_line(run.verdict, run.status or 0, directory.resolve())
    verdicts.conclude(reports, directory.resolve(), line)
    link = reports / LATEST
    if not link.is_dir() or link.resolve().name < directory.resolve().name:
        with suppress(OSError):
            point_latest(directory.resolve())
