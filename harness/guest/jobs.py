"""Scripts that run in the guest while other questions are asked.

A job is a unit of its own under systemd, so it outlives a restart of the guest agent,
which a rebuild may well bring about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.guest.script import Sections, ask, readable, reads
from harness.guest.transport import TransportLost

if TYPE_CHECKING:
    from harness.guest.transport import Guest

# A rebuild restarts the agent at most a few times; after that something is wrong.
_REATTACH = 5
# Gone after a reboot, like the jobs themselves.
DIRECTORY = "/run/acceptance"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. `since` and `until` are the guest's uptime in seconds."""

    rc: int
    output: str
    since: float
    until: float

    @property
    def duration_s(self) -> float:
        """Seconds from start to end, on the guest's clock."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Job:
    """A script under way in the guest."""

    guest: Guest
    name: str
    pid: str
    since: float
    directory: str

    def wait(self, timeout: float = 600.0) -> JobEnd:
        """Wait for the end, across restarts of the guest agent.

        Raises MachineError when the job was killed or the guest rebooted under it.
        """
        for attempt in range(_REATTACH):
            try:
                sections = self._ask(self.pid, timeout)
            except TransportLost:
                if attempt == _REATTACH - 1:
                    raise
            else:
                return parse_end(self.name, sections)
        raise AssertionError

    @property
    def output(self) -> str:
        """What the job has printed so far."""
        return self._ask("", 60.0).text("output")

    @property
    def ended(self) -> bool:
        """Whether the job has come to its own end."""
        return bool(self._ask("", 60.0).value("ended"))

    def _ask(self, pid: str, timeout: float) -> Sections:
        arguments = (self.name, pid, self.directory)
        return ask(self.guest, "job-wait.sh", *arguments, timeout=timeout)


def start(guest: Guest, name: str, script: str) -> Job:
    """Start a shell script as a job; a second job of the same name must wait."""
    sections = ask(guest, "job-start.sh", name, script, DIRECTORY)
    with readable(sections):
        begun = sections.pairs("job")
        return Job(guest, name, begun["pid"], float(begun["since"]), DIRECTORY)


@reads
def parse_end(name: str, sections: Sections) -> JobEnd:
    """Read how a job ended; raises MachineError when it left no word."""
    output = sections.text("output")
    words = sections.value("ended").split()
    if len(words) != 3:  # noqa: PLR2004  # status, since, until
        raise MachineError(
            f"job {name!r} left no exit status",
            seen="it was killed, or the guest rebooted meanwhile",
            evidence=output.splitlines()[-20:],
        )
    return JobEnd(int(words[0]), output, float(words[1]), float(words[2]))
