"""The heartbeat that a session writes about itself, and what it proves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from harness.guest.script import Sections, reads


class Beat(NamedTuple):
    """One beat: its number, the guest's uptime in seconds, and who wrote it."""

    n: int
    at: float
    pid: int


class Gap(NamedTuple):
    """A silence between two beats, or from the last until now; uptime in seconds."""

    start: float
    end: float

    @property
    def ms(self) -> float:
        """How long it was, in milliseconds."""
        return (self.end - self.start) * 1000


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """All beats of a session up to `now`, the guest's uptime in seconds.

    The silence between the last beat and `now` counts like any other, so a session that
    died does not look like one that never paused.
    """

    beats: tuple[Beat, ...]
    now: float

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers between the first and the last beat that were never written."""
        seen = {beat.n for beat in self.beats}
        return (
            tuple(n for n in range(min(seen), max(seen)) if n not in seen)
            if seen
            else ()
        )

    @property
    def repeated(self) -> tuple[int, ...]:
        """Numbers that did not grow: the counter restarted, and so did the session."""
        return tuple(b.n for a, b in pairwise(self.beats) if b.n <= a.n)

    @property
    def pids(self) -> tuple[int, ...]:
        """Who wrote the beats, in order of appearance."""
        return tuple(dict.fromkeys(beat.pid for beat in self.beats))

    @property
    def unbroken(self) -> bool:
        """Whether one process wrote every number exactly once, and there is one."""
        return len(self.pids) == 1 and not self.missing and not self.repeated

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every silence, the last one lasting until now."""
        times = [*(beat.at for beat in self.beats), self.now]
        return tuple(Gap(a, b) for a, b in pairwise(times))

    @property
    def longest_gap(self) -> Gap:
        """The longest silence; infinite where there is no beat."""
        return max(self.gaps, key=lambda gap: gap.ms, default=Gap(0.0, float("inf")))

    @property
    def longest_gap_ms(self) -> float:
        """How long the longest silence was, in milliseconds."""
        return self.longest_gap.ms

    def since(self, uptime: float) -> Heartbeat:
        """Leave out the beats before `uptime`, but for the last of them.

        That one is kept, so that a silence which began before is seen whole.
        """
        before = [beat for beat in self.beats if beat.at < uptime][-1:]
        after = [beat for beat in self.beats if beat.at >= uptime]
        return Heartbeat((*before, *after), self.now)

    def until(self, uptime: float) -> Heartbeat:
        """Look at the beats as they stood at `uptime`."""
        beats = tuple(beat for beat in self.beats if beat.at <= uptime)
        return Heartbeat(beats, min(self.now, uptime))


@reads
def parse(sections: Sections) -> Heartbeat:
    """Read what `heartbeats.sh` printed; half a line at the end is none."""
    beats: list[Beat] = []
    for line in sections.lines("beats"):
        words = line.split()
        if len(words) == 3 and words[0].isdigit() and words[2].isdigit():  # noqa: PLR2004
            beats.append(Beat(int(words[0]), float(words[1]), int(words[2])))
    return Heartbeat(tuple(beats), float(sections.value("now")))
