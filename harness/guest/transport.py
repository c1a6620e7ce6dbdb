"""The interface of transports: commands in a guest, and their results.

The transports know nothing of QEMU: one speaks the guest agent's protocol over a unix
socket, the other runs `ssh`. Views and suites see only what stands here.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.errors import GuestFailure, MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.deadline import Deadline

# Where a guest keeps its programs. An agent started by systemd has a bare PATH, so
# every command gets this one: NixOS first, then what any distribution has.
PATH = (
    "/run/current-system/sw/bin",
    "/run/wrappers/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
)

# The whole environment a command starts with; nothing of the agent's own leaks in.
ENVIRONMENT = {
    "PATH": ":".join(PATH),
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
}

# What a shell answers when there is no such program.
NOT_FOUND = 127


class TransportLost(MachineError):
    """The connection broke or the guest forgot a command that was under way.

    It happens when the guest reboots or its agent is restarted; the command may have
    run to its end, half-way or not at all.
    """


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command in the guest ended.

    `rc` is 128 + the signal's number where a signal ended it, as a shell has it.
    """

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str

    @property
    def succeeded(self) -> bool:
        """Whether the exit status is 0."""
        return self.rc == 0

    @property
    def failed(self) -> bool:
        """Whether the exit status is not 0."""
        return self.rc != 0

    @property
    def output(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr

    def check(self) -> CommandResult:
        """Raise GuestFailure unless the exit status is 0."""
        if self.rc != 0:
            raise GuestFailure(
                f"exit status {self.rc} in the guest: {abbreviate(self.argv)}",
                evidence=self.output.splitlines()[-20:],
            )
        return self


class Transport(Protocol):
    """One way to run commands in a guest."""

    def execute(
        self, argv: Sequence[str], *, deadline: Deadline, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command to its end; its exit status is the caller's to judge."""
        ...


class Guest(Protocol):
    """What views need of a machine: to run a command as root.

    `timeout` is in seconds; the implementation scales it to the speed of the host.
    """

    def execute(
        self, *words: str, timeout: float = 60.0, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command to its end; its exit status is the caller's to judge."""
        ...


def abbreviate(argv: Sequence[str], width: int = 160) -> str:
    """Shell-quote a command for a message, cut to `width` characters on one line."""
    text = " ".join(shlex.join(argv).split())
    return text if len(text) <= width else text[: width - 1] + "…"
