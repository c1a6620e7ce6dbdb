"""The time axis of a test: what its machines' records and its samples say of events.

Pure, but for reading files. Times are seconds since 1970; those of a journal are
by the clock of its guest.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MOST_BYTES = 16 * 1024 * 1024
_MOST_SERVICES = 6
_JOB = re.compile(r"acceptance-(.+)\.service")
_JOB_WORDS = {
    "rebuild-switch": "switch",
    "rebuild-boot": "rebuild for the next boot",
    "rebuild-test": "rebuild test",
    "gc": "collection",
}
_JOB_ENDS = re.compile(r": (Deactivated|Failed with|Main process exited)")
_DOWN = re.compile(r"^Stopping |: (Main process exited|Failed with result)")
# Units whose stops say nothing about the subject.
_PLUMBING = re.compile(
    r"^(systemd-|user@|user-|session-|run-|nixos-rebuild|acceptance-|getty|serial-getty"
    r"|container-getty|nix-daemon|qemu-guest-agent|sysinit)|@"
)
_QMP = {
    "STOP": "vCPUs stopped",
    "RESET": "machine reset",
    "POWERDOWN": "power button pressed",
    "SHUTDOWN": "QEMU ended",
    "GUEST_PANICKED": "kernel panicked",
    "WATCHDOG": "watchdog fired",
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a guest's journal; `uptime` is the guest's, in seconds."""

    at: float
    uptime: float
    boot: str
    unit: str
    sender: str
    text: str
    priority: int

    @classmethod
    def read(cls, line: str | bytes) -> LogEntry | None:
        """Read a line of `journalctl -o json`; None where it is no entry."""
        try:
            data: dict[str, Any] = json.loads(line)
            at = int(data["__REALTIME_TIMESTAMP"]) / 1e6
            uptime = int(data["__MONOTONIC_TIMESTAMP"]) / 1e6
            priority = int(data.get("PRIORITY") or 6)
        except (ValueError, KeyError, TypeError):
            return None
        return cls(
            at,
            uptime,
            str(data.get("_BOOT_ID") or ""),
            str(data.get("UNIT") or data.get("_SYSTEMD_UNIT") or ""),
            str(data.get("SYSLOG_IDENTIFIER") or ""),
            _message(data.get("MESSAGE")),
            priority,
        )


def _message(value: object) -> str:
    """Give a message as text; journalctl writes one that is no UTF-8 as numbers."""
    if isinstance(value, list):
        return bytes(b for b in value if isinstance(b, int) and 0 <= b < 256).decode(  # noqa: PLR2004 - a byte
            errors="replace"
        )
    return str(value or "")


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time on a lane; `ended` is false where only the observation did."""

    start: float
    end: float
    good: bool
    text: str = ""
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a time axis: what was observed, over time."""

    name: str
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """Something that was done to the subject, from its begin to its end."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class MachineLog:
    """What one machine's records say about the time of a test."""

    name: str
    entries: tuple[LogEntry, ...] = ()
    qmp: tuple[Mark, ...] = ()
    events: tuple[TimedEvent, ...] = field(default=(), compare=False)


def read_machine(directory: Path, since: float) -> MachineLog:
    """Read the journal and QMP log of a machine, from the beginning of its test."""
    name = directory.name.partition("@")[0]
    lines = _lines(directory / "journal.json")
    found = (LogEntry.read(line) for line in lines)
    entries = sorted((e for e in found if e and e.at >= since), key=lambda e: e.at)
    qmp = tuple(m for m in _qmp(_lines(directory / "qmp.jsonl")) if m.at >= since)
    return MachineLog(name, tuple(entries), qmp, tuple(events(entries)))


def _lines(path: Path) -> list[bytes]:
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).splitlines()


def _qmp(lines: Iterable[bytes]) -> Iterator[Mark]:
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            text = _QMP.get(data["in"]["event"])
            if text:
                yield Mark(float(data["at"]), text)
        except (ValueError, KeyError, TypeError):
            continue


def events(entries: Sequence[LogEntry]) -> list[TimedEvent]:
    """Find what was done to a guest: jobs of the harness, and reboots."""
    found = [*_jobs(entries), *_reboots(entries)]
    return sorted(found, key=lambda event: event.start)


def _jobs(entries: Sequence[LogEntry]) -> Iterator[TimedEvent]:
    begun: dict[str, LogEntry] = {}
    for entry in entries:
        job = _JOB.fullmatch(entry.unit)
        if job is None or job[1] == "payload":
            continue
        name = _JOB_WORDS.get(job[1], job[1].replace("-", " "))
        if entry.text.startswith("Started "):
            begun[name] = entry
        elif name in begun and _JOB_ENDS.search(entry.text):
            yield TimedEvent(begun.pop(name).at, entry.at, name)
    for name, entry in begun.items():
        last = [e.at for e in entries if e.boot == entry.boot][-1]
        yield TimedEvent(entry.at, last, name)


def _reboots(entries: Sequence[LogEntry]) -> Iterator[TimedEvent]:
    boots = [list(group) for _, group in groupby(entries, key=lambda e: e.boot)]
    for before, after in pairwise(boots):
        yield TimedEvent(before[-1].at, after[0].at, "reboot")


def machine_lanes(log: MachineLog) -> list[Lane]:
    """Lay out what was done to a machine, and which services were down meanwhile."""
    lanes = []
    done = tuple(Bar(e.start, e.end, e.text != "reboot", e.text) for e in log.events)
    if done or log.qmp:
        lanes.append(Lane(log.name, done, log.qmp))
    return lanes + [
        Lane(unit, tuple(bars)) for unit, bars in services(log.entries).items()
    ]


def services(entries: Sequence[LogEntry]) -> dict[str, list[Bar]]:
    """Find the services that stopped while their guest ran on, and for how long."""
    since: dict[str, LogEntry] = {}
    found: dict[str, list[Bar]] = {}
    for entry in entries:
        unit = entry.unit
        if not unit.endswith(".service") or _PLUMBING.search(unit):
            continue
        if _DOWN.search(entry.text):
            since.setdefault(unit, entry)
        elif entry.text.startswith("Started ") and unit in since:
            began = since.pop(unit)
            if began.boot == entry.boot:
                found.setdefault(unit, []).append(Bar(began.at, entry.at, good=False))
    for unit, began in since.items():
        last = entries[-1]
        if began.boot == last.boot:
            bar = Bar(began.at, last.at, good=False, ended=False)
            found.setdefault(unit, []).append(bar)
    return dict(list(found.items())[:_MOST_SERVICES])


def wall_of(uptime: float, logs: Iterable[MachineLog]) -> float | None:
    """Turn a guest's uptime into seconds since 1970, by the nearest journal entry."""
    entries = [entry for log in logs for entry in log.entries]
    if not entries:
        return None
    nearest = min(entries, key=lambda e: abs(e.uptime - uptime))
    return nearest.at + uptime - nearest.uptime
