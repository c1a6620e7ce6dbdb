"""What a verdict rests on: named checks, notes, files and measured series of one test.

Everything is on disk the moment it is recorded, so that a crash a second later loses
nothing. Secrets are taken out on the way: see `redact` and `secret_setting`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CheckFailed, HarnessError

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
class Check:
    """One named thing that was held against the subject."""

    name: str
    ok: bool
    reason: str
    at: float  # seconds since the test began


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file kept as evidence, relative to the test's evidence directory."""

    name: str
    path: str


@dataclass(slots=True)
class Record:
    """All that was recorded about one test; the content of `record.json`."""

    nodeid: str
    started: str
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    series: list[Attachment] = field(default_factory=list)


class Recorder:
    """Collects the evidence of one test; the fixture `check`.

    `check` is soft: the test goes on and fails at its end with every name that did not
    hold. `require` is for what the rest of the test cannot do without.
    """

    def __init__(self, nodeid: str, directory: Path) -> None:
        self.directory = directory
        self._record = Record(nodeid, datetime.now(UTC).isoformat(timespec="seconds"))
        self._began = time.monotonic()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check recorded so far, in order."""
        return tuple(self._record.checks)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Name and reason of every check that did not hold."""
        return [(c.name, c.reason) for c in self._record.checks if not c.ok]

    def check(self, name: str, ok: object, reason: object = "") -> bool:
        """Record a named check and go on; `reason` is what was seen."""
        held = bool(ok)
        seen = redact_text(str(reason))
        at = round(time.monotonic() - self._began, 3)
        self._record.checks.append(Check(name, held, seen, at))
        self._save()
        return held

    def require(self, name: str, ok: object, reason: object = "") -> None:
        """Record a named check and stop the test if it does not hold.

        Raises CheckFailed, with the soft failures so far.
        """
        __tracebackhide__ = True
        if not self.check(name, ok, reason):
            raise CheckFailed(self.failures)

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
    ) -> Path:
        """Keep measured points, (x, y) or (x, y, label), for the report to draw.

        Without `kind` the name's first word tells: "heartbeat-main", "dns", "address",
        "inodes /". `budget` is drawn as a limit on y, `events` as marks on x.
        """
        content = {
            "name": name,
            "kind": (SeriesKind(kind) if kind else _kind_of(name)).value,
            "budget": budget,
            "events": dict(events or {}),
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
        text = json.dumps(asdict(self._record), indent=1, ensure_ascii=False)
        _write(self.directory / RECORD, text + "\n")


def slug(name: str) -> str:
    """Turn a node id or a title into a file name: readable, unique, no traversal."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "x"
    if len(clean) > _LONGEST_NAME:
        clean = f"{clean[:90]}-{sha256(name.encode()).hexdigest()[:8]}"
    return clean


def copy_tree(source: Path, target: Path) -> None:
    """Copy collected files into the report, with private keys and passwords cut out.

    Used for what machines leave behind; sockets and other odd files stay away.
    """
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.is_symlink():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    scrub(target)


def scrub(directory: Path) -> None:
    """Cut private keys and password values out of every file of a directory, in place.

    Works on whole files: a secret may straddle any chunk. Logs of a run are some MB.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            clean = _SETTING.sub(_without_value, redact(content))
            if clean != content:
                path.write_bytes(clean)


_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?"
    rb"(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_AGE = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]+")
# The value's quotes, escaped ones too, stay: a JSON file must remain one.
_SETTING = re.compile(
    rb"""(?ix) (?: ^ | (?<=[\s"'{,]) )
    ( (?: (?: plain_text_ | hashed_ )? passw(?:or)?d | passphrase )
      \\? ["']? \s* [:=] [ \t]* )
    (?! \\? ["']? \[redacted )
    (?: ( \\? ["'] ) [^"'\n\\]+ | [^\s"',}\\]+ )""",
    re.MULTILINE,
)
_CHPASSWD = re.compile(rb"^\s*(chpasswd)\s*:", re.MULTILINE)  # cloud-init's list


def redact(content: bytes) -> bytes:
    """Cut private keys (PEM, OpenSSH, age) out of evidence."""
    return _AGE.sub(
        b"[redacted: age key]", _KEY.sub(b"[redacted: private key]", content)
    )


def _without_value(found: re.Match[bytes]) -> bytes:
    return found.group(1) + (found.group(2) or b"") + b"[redacted]"


def redact_text(text: str) -> str:
    """Cut private keys out of a message."""
    return redact(text.encode(errors="replace")).decode()


def secret_setting(content: bytes) -> str:
    """Name the first setting that carries a password and its line, or nothing."""
    found = _SETTING.search(content) or _CHPASSWD.search(content)
    if found is None:
        return ""
    line = content.count(b"\n", 0, found.start()) + 1
    name = re.split(rb"\W", found.group(1))[0].decode()
    return f"{name} in line {line}"


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
