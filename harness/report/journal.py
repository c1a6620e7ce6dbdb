"""The journal of a run in progress: one file of JSON lines per process.

Every process of a run (the controller, each xdist worker) appends to its own file and
never reads. The controller follows all of them for the terminal and folds them into
results at the end, also for processes that died.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.criteria import RanOutcome  # noqa: TC001 - pydantic needs it at run time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DIRECTORY = ".journal"  # in a report, until the report is whole


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float = Field(default_factory=time.time)
    worker: str = ""


class Collected(_Event):
    """A test was found; `selected` is false when -k or -m left it out."""

    event: Literal["collected"] = "collected"
    nodeid: str
    title: str = ""
    criteria: tuple[str, ...] = ()
    stage: str | None = None
    selected: bool = True
    optional: bool = False
    """Whether its criteria can pass without it, for it is marked thorough."""


class Opened(_Event):
    """A run began; written by each of its processes, and all say the same."""

    event: Literal["opened"] = "opened"
    started: str
    guest: str = ""
    fault: str = ""
    selection: str = ""
    full: bool = False
    asked: tuple[str, ...] = ()
    listed: bool = False
    """Whether the run collects all tests of the suites; else `KnownTests` has them."""


class KnownTest(BaseModel):
    """One test of the suites, whether or not the run selects it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodeid: str
    criteria: tuple[str, ...]
    optional: bool = False


class KnownTests(_Event):
    """All tests of all suites; `unlisted` names files whose tests are unknown."""

    event: Literal["census"] = "census"
    tests: tuple[KnownTest, ...] = ()
    unlisted: tuple[str, ...] = ()


class CollectFailed(_Event):
    """A file's tests could not be listed, or what its markers say makes no sense."""

    event: Literal["collect-failed"] = "collect-failed"
    text: str


class Started(_Event):
    """A test began; its evidence goes to `evidence`, relative to the report."""

    event: Literal["started"] = "started"
    nodeid: str
    evidence: str


class MachineUsed(_Event):
    """A test got a machine that lives in `directory` and is collected `into`."""

    event: Literal["machine"] = "machine"
    nodeid: str
    name: str
    directory: str
    into: str


class Finished(_Event):
    """A test ended, teardown included."""

    event: Literal["finished"] = "finished"
    nodeid: str
    outcome: RanOutcome
    reason: str = ""
    duration_s: float = 0.0
    load: float | None = None
    steal_share: float | None = None


class Fact(_Event):
    """Something about the run as a whole, such as the accelerator."""

    event: Literal["fact"] = "fact"
    name: str
    value: str | float | list[str]


class ProgressLine(_Event):
    """A line for the person who waits."""

    event: Literal["progress"] = "progress"
    text: str


class Timing(_Event):
    """One measurement of the instrument itself, in seconds."""

    event: Literal["timing"] = "timing"
    name: str
    seconds: float


Event = (
    Opened
    | KnownTests
    | Collected
    | CollectFailed
    | Started
    | MachineUsed
    | Finished
    | Fact
    | ProgressLine
    | Timing
)
_ANY: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


class Journal:
    """The file one process appends to; made at the first line."""

    def __init__(self, directory: Path, worker: str) -> None:
        self.directory = directory
        self.worker = worker
        self.lost: list[Event] = []
        """What the disk did not take, for the process that folds the journals."""
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Append one event; it is on its way to the disk when this returns.

        A disk that is full ends neither the test nor the run.
        """
        data: dict[str, Any] = event.model_dump(mode="json")
        data["worker"] = self.worker
        line = json.dumps(data, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                self._append(line.encode(errors="replace"))
            except OSError:
                self.lost.append(_ANY.validate_python(data))

    def _append(self, line: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{self.worker}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        handle = os.open(path, flags, 0o644)
        try:
            if os.write(handle, line) < len(line):
                # What follows must not continue the torn line.
                os.write(handle, b"\n")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(handle)


class Follower:
    """Reads what was appended to a directory of journals since the last look."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read: dict[Path, int] = {}

    def look(self) -> list[Event]:
        """Return the new events in the order they happened."""
        events = [e for path in self._paths() for e in self._fresh(path)]
        return sorted(events, key=lambda e: e.at)

    def _paths(self) -> list[Path]:
        return sorted(self.directory.glob("*.jsonl"))

    def _fresh(self, path: Path) -> Iterator[Event]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            content = file.read()
        # A process that was killed in mid-line leaves a torn end: wait for the rest.
        whole = content[: content.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        for line in whole.splitlines():
            try:
                yield _ANY.validate_json(line)
            except ValidationError:
                continue


def written(directory: Path) -> bool:
    """Whether a directory holds the journal of any process."""
    return any(directory.glob("*.jsonl"))


def packed(events: Sequence[Event]) -> list[str]:
    """Turn events into texts that another process can take."""
    return [event.model_dump_json() for event in events]


def unpacked(texts: Sequence[str]) -> list[Event]:
    """Turn them back into events."""
    return [_ANY.validate_json(text) for text in texts]


def read(directory: Path) -> list[Event]:
    """Return every event of a run in the order they happened."""
    return Follower(directory).look()
