"""Reading `/proc`: a process is its PID together with its start time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FILE = re.compile(r"^(/[^:]*):(.*)$")
_STAT = re.compile(r"^(\d+) \((.*)\) (\S) (.*)$")
_LINK = re.compile(r"^/proc/(\d+)/exe -> (.+)$")
# Field 22 of /proc/PID/stat, counted from the field after the state; see proc(5).
_STARTTIME = 18


@dataclass(frozen=True, slots=True)
class Process:
    """One process: the same PID with another `start` is another process.

    `start` is in ticks of 10 ms since boot, as the kernel has it. `exe` is where the
    running program's file lies, with " (deleted)" behind it when it lies there no more.
    """

    pid: int
    start: int
    command: str
    state: str
    exe: str | None
    cgroup: str | None

    @property
    def identity(self) -> tuple[int, int]:
        """PID and start time."""
        return (self.pid, self.start)

    def fact(self) -> dict[str, object]:
        """Return what identifies it, for checks."""
        return {"PID": self.pid, "started at tick": self.start}

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped by a signal or a debugger."""
        return self.state in {"T", "t"}


def parse_files(lines: Iterable[str]) -> dict[str, str]:
    """Read lines of PATH:LINE, as `grep -H` prints them: many files, by path."""
    files: dict[str, list[str]] = {}
    for line in lines:
        if found := _FILE.match(line):
            files.setdefault(found[1], []).append(found[2])
    return {path: "\n".join(content) for path, content in files.items()}


def parse_exes(lines: Iterable[str]) -> dict[int, str]:
    """Read `stat -c %N /proc/PID/exe…`, by PID."""
    found = (_LINK.match(line) for line in lines)
    return {int(one[1]): one[2] for one in found if one}


def process(
    pid: int, files: Mapping[str, str], exes: Mapping[int, str]
) -> Process | None:
    """Put together one process, or None where it is gone."""
    stat = _STAT.match(files.get(f"/proc/{pid}/stat", ""))
    if stat is None:
        return None
    cgroup = files.get(f"/proc/{pid}/cgroup", "").rpartition("0::")[2].strip()
    return Process(
        pid=int(stat[1]),
        start=int(stat[4].split()[_STARTTIME]),
        command=stat[2],
        state=stat[3],
        exe=exes.get(pid),
        cgroup=cgroup or None,
    )
