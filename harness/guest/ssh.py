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
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.deadline import Deadline

    Enter = Callable[[Sequence[str]], list[str]]

# ssh's own way of saying that it, not the command, failed.
_OWN_FAILURE = 255
PORT = 22


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
    port: int = PORT,
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
    options = {"ConnectionAttempts": "60", "ControlPath": str(control)}
    words = _options(key, known, options)
    return ["ssh", "-F", "none", "-T", *words, "-p", str(port), f"root@{address}"]


def session(
    address: IPv4Address,
    remote: str,
    *,
    key: Path,
    known: Path,
    connected: Path,
    terminal: bool,
    port: int = PORT,
) -> list[str]:
    """Return an `ssh` command line for interactive use; `remote` is for root's shell.

    The file `connected` is made once the guest has let us in, so that an exit status
    of 255 can be ssh's or the command's. `terminal` gives the command a pty.
    """
    options = {
        "ConnectionAttempts": "1",
        "ControlPath": "none",
        "PermitLocalCommand": "yes",
        "LocalCommand": f"touch {shlex.quote(str(connected))}",
    }
    words = _options(key, known, options)
    pty = "-tt" if terminal else "-T"
    target = ["-p", str(port), f"root@{address}"]
    return ["ssh", "-F", "none", pty, *words, *target, *([remote] if remote else [])]


def _options(key: Path, known: Path, options: Mapping[str, str]) -> list[str]:
    """Write the options that all command lines have, and more, as arguments."""
    every = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
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
    # LocalCommand is the rest of its line: no quotes around it.
    return [
        f"-o{name}={value if name == 'LocalCommand' else _quoted(value)}"
        for name, value in {**every, **options}.items()
    ]


def known_host(address: IPv4Address, port: int, host_key: str) -> str:
    """Return the line of `known_hosts` that lets ssh verify a guest."""
    algorithm, key, *_ = host_key.split()
    host = str(address) if port == PORT else f"[{address}]:{port}"
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
