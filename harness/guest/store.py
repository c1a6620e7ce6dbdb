"""The store view: garbage collections, and whether every live file still reads back."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.guest import jobs
from harness.guest.script import Sections, ask, reads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.guest.jobs import Job, JobEnd
    from harness.guest.transport import Guest

_DELETED = re.compile(r"(\d+) store paths? deleted, ([\d.]+) ([KMGT]?i?B)")
_LINK = re.compile(r"^(\S+) -> (\S+)$")
_MAPPING = re.compile(r"^/proc/(\d+)/(maps|exe):.*?(/nix/store/.*) \(deleted\)$")
# How often to read again because a root was let go meanwhile.
_READ_AGAIN = 3
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# In the C locale, the words by which a program names an error of the kernel.
_ERRNO = {os.strerror(number): name for number, name in errno.errorcode.items()}
# What nix-store --verify says of a path that is not as it should be.
_PROBLEM = re.compile(r"^(?:error: |warning: )?(path '.*|.* disappeared.*|cannot .*)$")
# File systems through which another kernel's store could be seen, or an upper layer
# that hides what becomes of a lower one.
FOREIGN = frozenset(
    {"9p", "virtiofs", "overlay", "nfs", "nfs4", "cifs", "smb3", "ceph", "vboxsf"}
)


@dataclass(frozen=True, slots=True)
class Collection:
    """What a garbage collection did, by its own account."""

    rc: int
    deleted: int
    freed_bytes: int
    output: str


@dataclass(frozen=True, slots=True)
class Collecting:
    """A garbage collection under way, or a loop of them."""

    job: Job

    def wait(self, timeout: float = 600.0) -> Collection:
        """Wait for its end."""
        return parse_collection(self.job.wait(timeout))


@dataclass(frozen=True, slots=True)
class LivePaths:
    """Which store paths are in use: by links that are roots, and by processes.

    `links` maps a root to where it points; `processes` has every store path that some
    process executes, maps, has open or works in. `deleted` are (PID, file) whose file
    is gone although the process has it.
    """

    links: Mapping[str, str]
    processes: tuple[str, ...]
    deleted: tuple[tuple[int, str], ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """Every store path in use, each once."""
        return tuple(dict.fromkeys((*self.links.values(), *self.processes)))


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading every regular file of all live closures.

    `errors` counts by the errno's name (ESTALE, ENOENT, EIO), with "invalid" for roots
    that Nix does not know and "other" for the rest; `complaints` are the first thousand
    messages. `bytes` is what the kernel counted, reading the reader's own programs
    included; `expected_bytes` is the sum of the sizes of the files found. `unknown` are
    paths that processes use and Nix does not know, as in the middle of a build: they
    have no closure, were not read, and are no error.
    """

    paths: int
    files: int
    bytes: int
    expected_bytes: int
    errors: Mapping[str, int]
    complaints: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything read back, and no fewer bytes than there are."""
        return not self.errors and self.bytes >= self.expected_bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """What `nix-store --verify --check-contents` found."""

    rc: int
    problems: tuple[str, ...]
    output: str

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return self.rc == 0 and not self.problems


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: str
    fstype: str
    source: str
    root: str
    options: str


class Store:
    """Collects garbage in a guest and looks whether anything that lives was hurt."""

    def __init__(
        self, guest: Guest, after_collection: Callable[[], None] = lambda: None
    ) -> None:
        self._guest = guest
        self._after_collection = after_collection

    def collect_garbage(self, *args: str, timeout: float = 600.0) -> Collection:
        """Run `nix-collect-garbage ARGS` to its end."""
        collection = self.start_collection(*args).wait(timeout)
        self._after_collection()
        return collection

    def start_collection(self, *args: str, times: int = 1) -> Collecting:
        """Start `nix-collect-garbage ARGS`, so many times in a row, and return."""
        words = shlex.join(args)
        script = f"""
            status=0 n=0
            while [ $n -lt {times} ]; do
                nix-collect-garbage {words} || status=$?
                n=$((n + 1))
            done
            exit $status
        """
        return Collecting(jobs.start(self._guest, "gc", script))

    def live(self) -> LivePaths:
        """Find every store path in use."""
        return parse_live(ask(self._guest, "live.sh", timeout=120.0))

    def read_everything(
        self, roots: tuple[str, ...] = (), *, timeout: float = 900.0
    ) -> Reading:
        """Drop the caches and read every regular file of the closures of `roots`.

        Without any, of everything that is live. What is let go while it is being read,
        such as an old generation, may be missing; then the reading is done again with
        what is still live. Raises MachineError when there was nothing to read, because
        a reader that reads nothing finds no error either.
        """
        if roots:
            return self._read(roots, roots, timeout)
        live = self.live()
        reading = self._read(live.roots, tuple(live.links.values()), timeout)
        for _ in range(_READ_AGAIN):
            now = self.live() if reading.errors else live
            if set(live.roots) <= set(now.roots):
                break
            again = self._read(now.roots, tuple(now.links.values()), timeout)
            reading, live = merge(reading, again), now
        return reading

    def verify(self, *, timeout: float = 900.0) -> Verification:
        """Let Nix compare every path of the store with its database."""
        done = self._guest.execute(
            "nix-store", "--verify", "--check-contents", timeout=timeout
        )
        return parse_verification(done.rc, done.output)

    def deleted_mappings(self) -> tuple[tuple[int, str], ...]:
        """List (PID, file) of the store whose file is gone while a process has it."""
        return self.live().deleted

    def foreign_mounts(self) -> tuple[Mount, ...]:
        """List what makes the store not the guest's own."""
        mounts = parse_mounts(self._complaints().text("mountinfo"))
        return foreign(mounts)

    def kernel_complaints(self) -> tuple[str, ...]:
        """List the kernel's lines about stale handles and broken file systems."""
        return tuple(self._complaints().lines("kernel"))

    def _read(
        self, roots: tuple[str, ...], valid: tuple[str, ...], timeout: float
    ) -> Reading:
        if not roots:
            raise MachineError("no store path is in use: there is nothing to read")
        arguments = (f"{jobs.DIRECTORY}/read", *roots)
        sections = ask(self._guest, "read.sh", *arguments, timeout=timeout)
        reading = parse_reading(sections, frozenset(valid))
        if not reading.files and not reading.errors:
            raise MachineError(
                "the reader read no file", seen=f"closures of {len(roots)} paths"
            )
        return reading

    def _complaints(self) -> Sections:
        return ask(self._guest, "complaints.sh")


def parse_collection(ended: JobEnd) -> Collection:
    """Add up what one or several collections printed."""
    found = _DELETED.findall(ended.output)
    freed = sum(float(size) * _UNITS.get(unit, 1) for _, size, unit in found)
    deleted = sum(int(count) for count, _, _ in found)
    return Collection(ended.rc, deleted, round(freed), ended.output)


@reads
def parse_live(sections: Sections) -> LivePaths:
    """Read what `live.sh` printed."""
    links = (_LINK.match(line) for line in sections.lines("links"))
    deleted = (_MAPPING.match(line) for line in sections.lines("deleted"))
    return LivePaths(
        links={one[1]: one[2] for one in links if one},
        processes=tuple(sections.lines("processes")),
        deleted=tuple(dict.fromkeys((int(m[1]), m[3]) for m in deleted if m)),
    )


@reads
def parse_reading(sections: Sections, valid: frozenset[str]) -> Reading:
    """Read what `read.sh` printed; `valid` are the roots that Nix must know."""
    counts = sections.pairs("counts")
    unknown = sections.lines("unknown")
    complaints = tuple(sections.lines("errors"))
    errors = Counter(map(error_name, complaints))
    # Past the thousandth message only their number is known.
    unseen = int(counts["errors"]) - len(complaints)
    if unseen:
        errors["other"] += unseen
    forgotten = [f"nix-store: {path}: invalid" for path in unknown if path in valid]
    if forgotten:
        errors["invalid"] += len(forgotten)
    return Reading(
        paths=int(counts["paths"]),
        files=int(counts["files"]),
        bytes=int(counts["bytes"]),
        expected_bytes=int(counts["expected"]),
        errors=dict(errors),
        complaints=(*forgotten, *complaints),
        unknown=tuple(path for path in unknown if path not in valid),
    )


def merge(before: Reading, after: Reading) -> Reading:
    """Let a second reading correct the first one's missing files, and nothing else.

    A path that is no longer live may be missing, but a file that was stale or did not
    read once was broken, even if it reads now.
    """
    excused = {"ENOENT", "other", "invalid"}
    kept = {name: n for name, n in before.errors.items() if name not in excused}
    broken = tuple(c for c in before.complaints if error_name(c) in kept)
    return replace(
        after,
        errors=dict(Counter(after.errors) + Counter(kept)),
        complaints=broken + after.complaints,
    )


def error_name(message: str) -> str:
    """Return the errno's name that a program's message ends with, else "other"."""
    return _ERRNO.get(message.rpartition(": ")[2].strip(), "other")


def parse_verification(rc: int, output: str) -> Verification:
    """Pick the problems out of what `nix-store --verify` printed."""
    problems = (line for line in output.splitlines() if _PROBLEM.match(line))
    return Verification(rc, tuple(problems), output)


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Read `/proc/self/mountinfo`; see proc(5)."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, found, after = line.partition(" - ")
        if found:
            root, point, options = before.split()[3:6]
            fstype, source, *_ = after.split()
            mounts.append(Mount(point, fstype, source, root, options))
    return tuple(mounts)


def foreign(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Pick the mounts under `/nix`, or holding it, that are not the guest's disk.

    Nix itself mounts nothing over a single path of its store, from wherever it comes.
    """
    holding = [m for m in mounts if "/nix/store".startswith(m.point.rstrip("/") + "/")]
    holding = [m for m in holding if m.point == max(h.point for h in holding)]
    below = [m for m in mounts if m.point == "/nix" or m.point.startswith("/nix/")]
    suspects = dict.fromkeys((*holding, *below))
    return tuple(
        m
        for m in suspects
        if m.fstype in FOREIGN
        or m.fstype.startswith("fuse")
        or m.point.startswith("/nix/store/")
    )
