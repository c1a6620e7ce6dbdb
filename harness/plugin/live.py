"""The live output of a run: steps, and one line per finished test."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.markup import escape

from harness.outlets import Outlet
from harness.report.colours import style
from harness.report.history import durations, remaining
from harness.report.journal import (
    Collected,
    CollectFailed,
    Finished,
    Follower,
    ProgressLine,
    Started,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.report.journal import Event

_LOOK_S = 0.2
_PATIENT_S = 30.0  # then say which test one is still waiting for
_LEFT = 12  # columns of an estimate


@contextmanager
def terminal() -> Iterator[TextIO]:
    """Keep the real standard output at hand, past pytest's capturing of it."""
    handle = os.dup(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    try:
        yield Outlet(handle).text()
    finally:
        os.close(handle)


class Tally:
    """How far a run is: which tests it selected, which ended, which run."""

    def __init__(self, reports: Path | None = None, workers: int = 1) -> None:
        self.reports = reports
        self.workers = workers
        self.selected: set[str] = set()
        self.ended: set[str] = set()
        self.running: dict[str, float] = {}
        self._known: dict[str, float] | None = None

    def take(self, event: Event) -> None:
        """Count one event; every worker lists all tests."""
        match event:
            case Collected(nodeid=nodeid, selected=True):
                self.selected.add(nodeid)
            case Started(nodeid=nodeid, at=at):
                self.running[nodeid] = at
            case Finished(nodeid=nodeid):
                self.running.pop(nodeid, None)
                self.ended.add(nodeid)
            case _:
                pass

    def place(self, now: float) -> str:
        """Return such as "12/50", and the time that is left where that can be said."""
        total = len(self.selected)
        if not total:
            return ""
        place = f"{len(self.ended):>{len(str(total))}}/{total}"
        left = self._left(now)
        return place if left is None else f"{place}  {left_text(left):>{_LEFT}}"

    def _left(self, now: float) -> float | None:
        if self._known is None:
            known = durations(self.reports, self.selected) if self.reports else {}
            self._known = known
        running = {nodeid: now - at for nodeid, at in self.running.items()}
        waiting = self.selected - self.ended - running.keys()
        return remaining(self._known, waiting, running, self.workers)


class JournalDisplay:
    """Prints the journals' news from a thread of its own, while in `follow`."""

    def __init__(
        self,
        journals: Path,
        out: TextIO,
        *,
        outcomes: bool = True,
        tally: Tally | None = None,
    ) -> None:
        self.outcomes = outcomes
        self.tally = tally or Tally()
        self.console = Console(file=out, soft_wrap=True, highlight=False, emoji=False)
        self.follower = Follower(journals)
        self.told: set[str] = set()
        self.began = time.time()
        self.spoke = time.monotonic()

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Print news until the `with` ends, then what is left of them."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_LOOK_S):
                self.show()
                self.remind()

        thread = threading.Thread(target=watch, name="acceptance-live")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.show()

    def show(self) -> None:
        """Print what is new."""
        for event in self.follower.look():
            self.tally.take(event)
            if isinstance(event, Finished) and not self.outcomes:
                continue
            # Every worker lists all tests, and stumbles over the same ones.
            if isinstance(event, CollectFailed):
                if event.text in self.told:
                    continue
                self.told.add(event.text)
            place = self.tally.place(event.at) if isinstance(event, Finished) else ""
            if line := render(event, self.began, place):
                self._print(line)

    def remind(self) -> None:
        """Name the tests that run since long, if nothing was said for a while."""
        running = self.tally.running
        if running and time.monotonic() - self.spoke > _PATIENT_S:
            now = time.time()
            waits = ", ".join(f"{n} ({now - at:.0f} s)" for n, at in running.items())
            place = _spaced(self.tally.place(now))
            line = f"{now - self.began:7.1f} s{place}  … {escape(waits)}"
            self._print(f"[dim]{line}[/dim]")

    def _print(self, line: str) -> None:
        self.console.print(line)
        self.spoke = time.monotonic()


def left_text(seconds: float) -> str:
    """Write an estimate: minutes and seconds, or hours too."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"~{clock} left"


def render(event: Event, began: float, place: str = "") -> str:
    """Turn one event into a line with rich's markup; most say nothing.

    `place` says how far the run is.
    """
    when = f"{max(0.0, event.at - began):7.1f} s"
    who = f" {event.worker}" if event.worker.startswith("gw") else ""
    match event:
        case ProgressLine(text=text):
            return f"[dim]{when}{who}  {escape(text)}[/dim]"
        case Finished(nodeid=nodeid, outcome=outcome, reason=reason, duration_s=took):
            colour = style(outcome)
            line = f"{when}{who}{_spaced(place)}  [{colour}]{outcome:8}[/{colour}]"
            tail = f"  {escape(reason.splitlines()[0])}" if reason else ""
            return f"{line}{took:7.1f} s  {escape(nodeid)}{tail}"
        case CollectFailed(text=text):
            return f"{when}  [bold magenta]{escape(text)}[/]"
        case _:
            return ""


def _spaced(place: str) -> str:
    return f"  {place}" if place else ""
