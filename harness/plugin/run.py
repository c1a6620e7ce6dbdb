"""One run: its directory, its journal, and the state that fixtures share."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.plugin.options import is_worker
from harness.report.journal import (
    DIRECTORY,
    Fact,
    Journal,
    MachineUsed,
    Opened,
    ProgressLine,
    Timing,
    written,
)

if TYPE_CHECKING:
    from harness.evidence import Recorder
    from harness.image import Image
    from harness.plugin.options import Settings

WORKER_INPUT = "acceptance_run"


@dataclass(frozen=True, slots=True)
class Run:
    """One run as one process sees it; nothing is on disk before the first event."""

    id: str
    directory: Path
    started: str
    journal: Journal
    problems: list[str] = field(default_factory=list)
    """What keeps the report from being whole; the terminal says it."""

    @property
    def opened(self) -> bool:
        """Whether any process of this run saw a test of a suite."""
        return written(self.journal.directory) or bool(self.journal.lost)

    def opening(self, settings: Settings) -> Opened:
        """Say what the run is, for a report of it when its controller is gone."""
        return Opened(
            started=self.started,
            guest=settings.guest,
            fault=str(settings.fault or ""),
            selection=settings.selection,
            full=settings.full,
            asked=settings.selected.criteria,
            listed=settings.listed,
        )

    def fact(self, name: str, value: str | float | list[str]) -> None:
        """Record something about the run as a whole; the first word counts."""
        self.journal.write(Fact(name=name, value=value))

    def timing(self, name: str, seconds: float) -> None:
        """Record a measurement of the instrument: cold-boot, restore or exec."""
        self.journal.write(Timing(name=name, seconds=seconds))

    def step(self, text: str) -> None:
        """Show a line to the person who waits (harness.image.Progress)."""
        self.journal.write(ProgressLine(text=text))


@dataclass(frozen=True, slots=True)
class Current:
    """The test that is running."""

    nodeid: str
    name: str  # fit for a file name
    recorder: Recorder
    run: Run
    saved: list[Path] = field(default_factory=list)
    """The saved stages that the test's machines are made from."""

    def machine(self, name: str, directory: Path) -> Path:
        """Record that the test uses a machine; return where it is to be collected.

        Every test has a `dev` of its own, so the test's name goes with the machine's.
        """
        into = Path("machines") / f"{name}@{self.name}"
        self.run.journal.write(
            MachineUsed(
                nodeid=self.nodeid, name=name, directory=str(directory), into=str(into)
            )
        )
        return self.run.directory / into


RUN = pytest.StashKey[Run]()
CURRENT = pytest.StashKey[Current]()
IMAGE: pytest.StashKey[Image] = pytest.StashKey()
EMULATED = pytest.StashKey[bool]()  # whether guests run under TCG


def open_run(config: pytest.Config, settings: Settings) -> Run:
    """Begin a run, or join the controller's as an xdist worker."""
    if is_worker(config):
        given = config.workerinput[WORKER_INPUT]  # type: ignore[attr-defined]
        worker = config.workerinput["workerid"]  # type: ignore[attr-defined]
        run_id, directory, started = given["id"], Path(given["dir"]), given["started"]
    else:
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        directory = settings.reports / run_id
        worker, started = "main", now.isoformat(timespec="seconds")
    return Run(run_id, directory, started, Journal(directory / DIRECTORY, worker))


def current(item: pytest.Item) -> Current:
    """Give the running test's state; raises UsageError outside of a suite run."""
    found = item.stash.get(CURRENT, None)
    if found is None:
        raise pytest.UsageError(
            f"{item.nodeid} uses a fixture of the suites, but lies under tests/, which"
            " `acceptance_suites` of pytest's configuration does not list"
        )
    return found
