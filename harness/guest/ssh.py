"""Commands in a guest through `ssh`, as a user connects.

The client runs where `enter` puts it (inside a site, where nothing but the site can
be reached), knows the guest's host key beforehand, and keeps one connection open.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import process
from harness.deadline import poll
from harness.errors import MachineError
from harness.guest.transport import ENVIRONMENT, CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.deadline import Deadline

    Enter = Callable[[Sequence[str]], list[str]]

# ssh's own way of saying that it, not the command, failed.
_OWN_FAILURE = 255


@dataclass(frozen=True, slots=True)
class SshTransport:
    """Runs commands as root over the connection that `connect` keeps open."""

    client: tuple[str, ...]
    enter: Enter

    def execute(
        self, argv: Sequence[str], *, deadline: Deadline, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command to its end; its exit status is the caller's to judge.

        Raises DeadlineExpired; the command may then still run in the guest. Raises
        MachineError when the connection is gone, which ssh calls 255 as well.
        """
        words = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
        command = shlex.join(["env", "-i", *words, *argv])
        done = process.run(
            self.enter([*self.client, "--", command]), deadline=deadline, stdin=stdin
        )
        if done.rc == _OWN_FAILURE and not self.connected(deadline):
            raise MachineError(
                "lost the ssh connection", evidence=done.stderr.splitlines()
            )
        return CommandResult(tuple(argv), done.rc, done.stdout, done.stderr)

    def connected(self, deadline: Deadline) -> bool:
        """Whether the connection is open."""
        argv = [*self.client[:-1], "-O", "check", self.client[-1]]
        return process.run(self.enter(argv), deadline=deadline).rc == 0


@contextmanager
def connect(
    address: IPv4Address,
    *,
    directory: Path,
    key: Path,
    host_key: str,
    enter: Enter,
    deadline: Deadline,
    port: int = 22,
) -> Iterator[SshTransport]:
    """Keep a connection to a guest open for the length of the `with`.

    `host_key` is the guest's public key ("ssh-ed25519 AAAA…"), which must match. The
    control socket and the list of known hosts go to `directory`. Raises MachineError
    with ssh's own words when the guest refuses, DeadlineExpired when it is silent.
    """
    known = directory / "known_hosts"
    known.write_text(known_host(address, port, host_key), encoding="ascii")
    client = command(address, port, key=key, known=known, control=directory / "ssh")
    argv = enter([*client[:-1], "-M", "-N", client[-1]])
    words = directory / "ssh.log"
    with words.open("wb") as log, process.spawn(argv, stderr=log) as master:
        transport = SshTransport(tuple(client), enter)

        def ready() -> bool | None:
            if master.poll() is not None:
                raise MachineError(
                    f"ssh to {address} ended with {master.returncode}",
                    evidence=words.read_text(errors="replace").splitlines()[-20:],
                )
            return True if transport.connected(deadline) else None

        poll(ready, deadline, interval=0.1, seen=lambda: words.read_text("utf-8"))
        yield transport


def command(
    address: IPv4Address, port: int, *, key: Path, known: Path, control: Path
) -> list[str]:
    """Return an `ssh` command line that uses nothing of the person who runs it."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ConnectionAttempts": "60",
        "ControlPath": str(control),
        "HostKeyAlgorithms": "ssh-ed25519",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(key),
        "LogLevel": "ERROR",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "6",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(known),
    }
    words = [f"-o{name}={_quoted(value)}" for name, value in options.items()]
    return ["ssh", "-F", "none", "-T", *words, "-p", str(port), f"root@{address}"]


def known_host(address: IPv4Address, port: int, host_key: str) -> str:
    """Return the line of `known_hosts` that lets ssh verify a guest."""
    algorithm, key, *_ = host_key.split()
    host = str(address) if port == 22 else f"[{address}]:{port}"  # noqa: PLR2004
    return f"{host} {algorithm} {key}\n"


def generate_key(path: Path, deadline: Deadline) -> str:
    """Make a key pair at `path` and return the public half."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    process.run(argv, deadline=deadline).check()
    return path.with_name(f"{path.name}.pub").read_text(encoding="ascii").strip()


def _quoted(value: str) -> str:
    """Quote a value for ssh's own option parser, and its percent expansion."""
    escaped = value.replace("%", "%%") if "/" in value else value
    return f'"{escaped}"' if " " in escaped else escaped
