"""The evidence of one test: named checks, notes, files and measured series.

Everything is on disk the moment it is recorded, so that a crash a second later loses
nothing. Secrets are cut out on the way (`harness.evidence.redaction`).
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CheckFailed, HarnessError
from harness.evidence.check import Check
from harness.evidence.redaction import redact, redact_text, secret_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RECORD = "record.json"
_LONGEST_NAME = 100  # bytes; a path of three such parts still fits everywhere


class SeriesKind(StrEnum):
    """What a series shows, hence how the report draws it."""

    HEARTBEAT = "heartbeat"  # x: s since the first beat, y: gap to the beat before, ms
    ADDRESS = "address"  # x: s, y: 1 answered / 0 not, label: probe (ping, tcp:22 …)
    DNS = "dns"  # x: s, y: 1 right answer / 0 not, label: what was answered
    INODES = "inodes"  # x: cycle, y: inodes used, label: mount point
    PLOT = "plot"  # anything else: x, y, one line per label


@dataclass(frozen=True, slots=True)
class Point:
    """One sample of a series."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file kept as evidence, relative to the test's evidence directory."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A check as it was recorded, `at` seconds after the test began.

    A `required` one that does not hold ends the test, so that nothing after it was
    judged.
    """

    check: Check
    at: float
    required: bool

    def record(self) -> dict[str, Any]:
        """Return it for JSON, with its words for readers that know no relation."""
        words = {"ok": self.check.held, "reason": str(self.check)}
        return {
            **self.check.record(),
            **words,
            "at": self.at,
            "required": self.required,
        }


@dataclass(slots=True)
class Record:
    """All that was recorded about one test; the content of `record.json`."""

    nodeid: str
    started: str
    checks: list[Recorded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    series: list[Attachment] = field(default_factory=list)


class Recorder:
    """Collects the evidence of one test; the fixture `check`.

    Called with a `Check` it is soft: the test goes on, and fails at its end with every
    name that did not hold. `require` is for what the rest of the test needs.
    """

    def __init__(self, nodeid: str, directory: Path) -> None:
        self.directory = directory
        self._record = Record(nodeid, datetime.now(UTC).isoformat(timespec="seconds"))
        self._began = time.monotonic()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check recorded so far, in order."""
        return tuple(each.check for each in self._record.checks)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Name and words of every check that did not hold."""
        return [(c.name, str(c)) for c in self.checks if not c.held]

    def __call__(self, checks: Check | Iterable[Check]) -> bool:
        """Record one check or several and go on; return whether all held."""
        return self._take(checks, required=False)

    def require(self, checks: Check | Iterable[Check]) -> None:
        """Record checks, and stop the test if one does not hold.

        Raises CheckFailed, with every failure so far.
        """
        __tracebackhide__ = True
        if not self._take(checks, required=True):
            raise CheckFailed(self.failures)

    def _take(self, checks: Check | Iterable[Check], *, required: bool) -> bool:
        held = True
        for check in [checks] if isinstance(checks, Check) else checks:
            at = round(time.monotonic() - self._began, 3)
            clean = check.redacted(redact_text)
            self._record.checks.append(Recorded(clean, at, required))
            held = held and clean.held
            self._save()
        return held

    def conclude(self) -> None:
        """Raise CheckFailed with every check that did not hold."""
        __tracebackhide__ = True
        if self.failures:
            raise CheckFailed(self.failures)

    def note(self, text: str) -> None:
        """Keep a sentence for the report's reader."""
        self._record.notes.append(redact_text(text))
        self._save()

    def attach(self, name: str, data: str | bytes | Path | Mapping[str, Any]) -> Path:
        """Keep a file under the test's evidence and return its path.

        Takes text, bytes, a file to copy or something for JSON. Private keys are cut
        out. Raises HarnessError when it sets a password, as a cloud-init seed may.
        """
        content = _content(data)
        if setting := secret_setting(content):
            raise HarnessError(
                f"refused to keep {name} as evidence",
                seen=f"it sets a secret: {setting}",
                hint="attach it without its secrets",
            )
        path = self._vacant(name)
        path.write_bytes(redact(content))
        self._keep(self._record.attachments, name, path)
        return path

    def series(
        self,
        name: str,
        points: Iterable[Point | Sequence[Any]],
        *,
        kind: SeriesKind | str | None = None,
        budget: float | None = None,
        events: Mapping[str, float] | None = None,
        judged_by: tuple[str, str] = ("", ""),
        origin: float | None = None,
        uptime: float | None = None,
    ) -> Path:
        """Keep measured points, (x, y) or (x, y, label), for the report to draw.

        Without `kind` the name's first word decides: "heartbeat-main", "dns",
        "address", "inodes /". `budget` is drawn as a limit on y, `events` mark x.
        `judged_by` names the check, and its event, whose number the drawing shows.
        x = 0 is `origin` on the host's monotonic clock, or `uptime` on the guest's.
        """
        content = {
            "name": name,
            "kind": (SeriesKind(kind) if kind else _kind_of(name)).value,
            "budget": budget,
            "events": dict(events or {}),
            "judged_by": judged_by[0],
            "during": judged_by[1],
            "origin": _wall(origin),
            "uptime": uptime,
            "points": [list(_point(p)) for p in points],
        }
        path = self._vacant(f"series-{name}.json")
        _write(path, json.dumps(content, separators=(",", ":")) + "\n")
        self._keep(self._record.series, name, path)
        return path

    def _keep(self, where: list[Attachment], name: str, path: Path) -> None:
        where.append(Attachment(name, str(path.relative_to(self.directory))))
        self._save()

    def _vacant(self, name: str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        clean = slug(name)
        path, count = self.directory / clean, 1
        while path.exists() or path.name == RECORD:
            count += 1
            stem, dot, suffix = clean.partition(".")
            path = self.directory / f"{stem}-{count}{dot}{suffix}"
        return path

    def _save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        record = asdict(replace(self._record, checks=[]))
        record["checks"] = [each.record() for each in self._record.checks]
        text = json.dumps(record, indent=1, ensure_ascii=False)
        _write(self.directory / RECORD, text + "\n")


def slug(name: str) -> str:
    """Turn a node id or a title into a file name: readable, unique, no traversal."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "x"
    if len(clean) > _LONGEST_NAME:
        clean = f"{clean[:90]}-{sha256(name.encode()).hexdigest()[:8]}"
    return clean


def _wall(monotonic: float | None) -> float | None:
    """Turn a time of the monotonic clock into seconds since 1970."""
    if monotonic is None:
        return None
    return round(time.time() - time.monotonic() + monotonic, 3)


def _kind_of(name: str) -> SeriesKind:
    head = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return SeriesKind(head) if head in set(SeriesKind) else SeriesKind.PLOT


def _point(point: Point | Sequence[Any]) -> tuple[float, float, str]:
    if isinstance(point, Point):
        return point.x, point.y, point.label
    x, y, *label = point
    return float(x), float(y), str(label[0]) if label else ""


def _content(data: str | bytes | Path | Mapping[str, Any]) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, Path):
        return data.read_bytes()
    text = json.dumps(data, indent=1, ensure_ascii=False, default=str)
    return (text + "\n").encode()


def _write(path: Path, text: str) -> None:
    # A reader, or a crash, sees the old content or the new, never a half.
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)  # noqa: PTH105 - says what it does
