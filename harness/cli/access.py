"""Access to a machine that another process runs: by password, key or agent."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import DeadlineExpired
from harness.guest import access, ssh
from harness.guest.agent import AgentTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.cli.running import RunningMachine
    from harness.guest.transport import CommandResult, Guest

_PASSWORD = "root-password"  # noqa: S105 - a file's name
_ANSWER_S = 30.0
_KEYGEN_S = 20.0


@dataclass(frozen=True, slots=True)
class AgentGuest:
    """The guest behind an agent's socket, as `harness.guest` asks one."""

    transport: AgentTransport

    def execute(
        self, *words: str, timeout: float = 60.0, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command to its end."""
        deadline = Deadline.after(timeout, words[0])
        return self.transport.execute(words, deadline=deadline, stdin=stdin)


@contextmanager
def guest_agent(
    machine: RunningMachine, patience: float = _ANSWER_S
) -> Iterator[AgentGuest]:
    """Hold the agent of a running machine, which serves one client at a time.

    Raises DeadlineExpired when it does not answer in `patience` seconds.
    """
    transport = AgentTransport(machine.agent)
    try:
        try:
            transport.ping(Deadline.after(patience, "the guest agent to answer"))
        except DeadlineExpired as error:
            error.hint = "the guest is stuck or boots, or a test or a repl holds it"
            raise
        yield AgentGuest(transport)
    finally:
        transport.close()


def set_password(guest: Guest, directory: Path, *, timeout: float = 60.0) -> str:
    """Give root the run's throwaway password, and return it.

    It is kept in the machine's run directory, which is for this user alone and goes
    with the run. What changes /etc/shadow in the guest (a switch, a rollback) may
    remove it there: setting it again does no harm. Raises HarnessError.
    """
    password = known_password(directory) or secrets.token_hex(4)
    access.set_password(guest, password, timeout=timeout)
    file = directory / _PASSWORD
    file.touch(mode=0o600)
    file.write_text(f"{password}\n", encoding="ascii")
    return password


def known_password(directory: Path) -> str:
    """Return the password that was set before; empty where none was."""
    try:
        return (directory / _PASSWORD).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def addresses(
    transport: AgentTransport, first: IPv4Address | None
) -> list[IPv4Address]:
    """Ask a guest for its addresses; `first` is the first if it has it, still."""
    asked = Deadline.after(_ANSWER_S, "the guest's addresses")
    listed = transport.request("guest-network-get-interfaces", deadline=asked)
    return access.addresses(listed, first)


@dataclass(frozen=True, slots=True)
class Key:
    """The key that this user has for one machine, and what its guest answers with."""

    directory: Path

    @classmethod
    def of(cls, machine: RunningMachine) -> Key:
        """Return the place of a machine's key, which may not exist yet."""
        return cls(machine.directory / "sh")

    @property
    def file(self) -> Path:
        """The private half."""
        return self.directory / "key"

    def known(self, address: IPv4Address) -> Path:
        """Return the file of known hosts for one address."""
        return self.directory / f"known-{address}"

    def addresses(self) -> list[str]:
        """List the addresses that an earlier login has prepared."""
        return [
            path.name.removeprefix("known-") for path in self.directory.glob("known-*")
        ]

    def prepare(
        self, guest: AgentGuest, first: IPv4Address | None
    ) -> list[IPv4Address]:
        """Have the guest let the key in; return where ssh may reach it.

        Raises HarnessError where the guest cannot be asked, or has no sshd.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if not self.file.exists():
            made = Deadline.after(_KEYGEN_S, "a key for ssh")
            ssh.generate_key(self.file, made)
        public = self.file.with_name("key.pub").read_text(encoding="ascii").strip()
        host_key = access.let_in(guest, public)
        found = addresses(guest.transport, first)
        for address in found:
            line = ssh.known_host(address, ssh.PORT, host_key)
            self.known(address).write_text(line, encoding="ascii")
        return found
