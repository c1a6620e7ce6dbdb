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
from harness.report.journal import (
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


@contextmanager
def terminal() -> Iterator[TextIO]:
    """Keep the real standard output at hand, past pytest's capturing of it."""
    handle = os.dup(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    try:
        yield Outlet(handle).text()
    finally:
        os.close(handle)


class JournalDisplay:
    """Prints the journals' news from a thread of its own, while in `follow`."""

    def __init__(self, journals: Path, out: TextIO, *, outcomes: bool = True) -> None:
        self.outcomes = outcomes
        self.console = Console(file=out, soft_wrap=True, highlight=False, emoji=False)
        self.follower = Follower(journals)
        self.running: dict[str, float] = {}
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
            match event:
                case Started(nodeid=nodeid, at=at):
                    self.running[nodeid] = at
                case Finished(nodeid=nodeid):
                    self.running.pop(nodeid, None)
                case _:
                    pass
            if isinstance(event, Finished) and not self.outcomes:
                continue
            # Every worker lists all tests, and stumbles over the same ones.
            if isinstance(event, CollectFailed):
                if event.text in self.told:
                    continue
                self.told.add(event.text)
            if line := render(event, self.began):
                self._print(line)

    def remind(self) -> None:
        """Name the tests that run since long, if nothing was said for a while."""
        if self.running and time.monotonic() - self.spoke > _PATIENT_S:
            now = time.time()
            waits = ", ".join(
                f"{n} ({now - at:.0f} s)" for n, at in self.running.items()
            )
            self._print(f"[dim]{now - self.began:7.1f} s  … {escape(waits)}[/dim]")

    def _print(self, line: str) -> None:
        self.console.print(line)
        self.spoke = time.monotonic()


def render(event: Event, began: float) -> str:
    """Turn one event into a line with rich's markup; most say nothing."""
    when = f"{max(0.0, event.at - began):7.1f} s"
    who = f" {event.worker}" if event.worker.startswith("gw") else ""
    match event:
        case ProgressLine(text=text):
            return f"[dim]{when}{who}  {escape(text)}[/dim]"
        case Finished(nodeid=nodeid, outcome=outcome, reason=reason, duration_s=took):
            colour = style(outcome)
            line = f"{when}{who}  [{colour}]{outcome:8}[/{colour}]{took:7.1f} s"
            tail = f"  {escape(reason.splitlines()[0])}" if reason else ""
            return f"{line}  {escape(nodeid)}{tail}"
        case CollectFailed(text=text):
            return f"{when}  [bold magenta]{escape(text)}[/]"
        case _:
            return ""
