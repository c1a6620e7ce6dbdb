"""Samples of watchers, typed, and their evaluation; pure, but for reading.

A watcher writes one JSON object a line: `at` (CLOCK_MONOTONIC, seconds, the same clock
as `time.monotonic()` out here), `kind`, `ok`, `detail`, and `latency` in seconds where
an answer came. `at` is when the question was asked, whenever the answer came.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ANNOUNCE = "announce"
STARTED, BEAT, STOPPED = "started", "beat", "stopped"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question and its result.

    `kind` is ping, arp, tcp:PORT, dns, or announce (an unasked ARP announcement was
    heard). `detail` is for people; for arp and announce it is the MACs that answered.
    """

    at: float
    kind: str
    ok: bool
    detail: str
    latency: float | None = None

    @property
    def macs(self) -> tuple[str, ...]:
        """Who answered, of an arp or announce sample."""
        return tuple(self.detail.split())


@dataclass(frozen=True, slots=True)
class DnsSample:
    """One DNS question and its answer; `ttl` and `latency` in seconds."""

    at: float
    ok: bool
    addresses: tuple[IPv4Address, ...]
    rcode: str
    ttl: int | None
    latency: float | None

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses)) or self.rcode or "no answer"


@dataclass(frozen=True, slots=True)
class Outage:
    """From the first question without an answer to the next that had one.

    `ended` is false when the watch stopped before an answer came. Times as samples'.
    """

    start: float
    end: float
    ended: bool = True

    @property
    def duration(self) -> float:
        """Seconds; up to one period shorter than the true break."""
        return self.end - self.start


class Tail:
    """A watcher's file, read on from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: list[dict[str, Any]] = []
        self._read = 0

    def records(self) -> list[dict[str, Any]]:
        """Return every record so far, but not a last line still being written."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        self._records += [json.loads(line) for line in whole.splitlines()]
        return self._records


def to_sample(record: dict[str, Any]) -> Sample:
    """Turn a record into a sample."""
    return Sample(
        at=record["at"],
        kind=record["kind"],
        ok=record["ok"],
        detail=record["detail"],
        latency=record.get("latency"),
    )


def to_dns_sample(record: dict[str, Any]) -> DnsSample:
    """Turn a record of the DNS watcher into a sample."""
    return DnsSample(
        at=record["at"],
        ok=record["ok"],
        addresses=tuple(IPv4Address(ip) for ip in record["addresses"]),
        rcode=record["rcode"],
        ttl=record["ttl"],
        latency=record["latency"],
    )


def of_kind(samples: Iterable[Sample], kind: str) -> list[Sample]:
    """Pick one kind in the order of asking. Raises HarnessError when there is none.

    An empty list would read as "no outage"; no sample is the watcher's failure.
    """
    picked = sorted((s for s in samples if s.kind == kind), key=lambda s: s.at)
    if not picked:
        raise HarnessError(
            f"the watcher took no {kind} samples", hint="see its .err file"
        )
    return picked


def outages(samples: Sequence[Sample | DnsSample]) -> list[Outage]:
    """Find the breaks in samples of one kind, in the order of asking."""
    found: list[Outage] = []
    start: float | None = None
    for sample in samples:
        if sample.ok and start is not None:
            found.append(Outage(start, sample.at))
            start = None
        elif not sample.ok and start is None:
            start = sample.at
    if start is not None:
        found.append(Outage(start, samples[-1].at, ended=False))
    return found


def longest(found: Iterable[Outage]) -> float:
    """Seconds of the longest outage, 0.0 without one."""
    return max((outage.duration for outage in found), default=0.0)


def longest_outage(samples: Iterable[Sample], kind: str) -> float:
    """Seconds of the longest break of one kind. Raises HarnessError without samples."""
    return longest(outages(of_kind(samples, kind)))


def owners(samples: Sequence[Sample]) -> list[tuple[float, frozenset[str]]]:
    """Return who answered over time, from arp samples: (at, MACs) at each change."""
    found: list[tuple[float, frozenset[str]]] = []
    for sample in samples:
        macs = frozenset(sample.macs)
        if not found or found[-1][1] != macs:
            found.append((sample.at, macs))
    return found


def longest_gap(records: Sequence[dict[str, Any]], until: float) -> float:
    """Seconds the watcher itself was blind for at most: its own beat, stalled.

    Counted from its start over every beat to its stop, or to `until` where it has not
    written one: still running, or dead. Without a beat, infinite.
    """
    beats: list[float] = [record["at"] for record in records if record["kind"] == BEAT]
    if not beats:
        return float("inf")
    started = [record["at"] for record in records if record["kind"] == STARTED]
    stopped = [record["at"] for record in records if record["kind"] == STOPPED]
    times: list[float] = sorted(
        [*started, *beats, *(stopped or [max(until, beats[-1])])]
    )
    return max(later - earlier for earlier, later in itertools.pairwise(times))
