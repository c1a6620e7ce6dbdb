"""`harness sh`: a shell, a script or a command in a machine that runs elsewhere.

The way is ssh from the LAN client of the machine's site, with a key of this run: a real
terminal, streams and exit status as ssh has them. Where ssh does not get in, a command
or a script takes the guest agent, and a prompt the serial console.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from harness.cli import access
from harness.cli.consoles import attach_console
from harness.cli.say import err
from harness.errors import DeadlineExpired, HarnessError
from harness.guest import ssh
from harness.process import leashed, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.cli.running import RunningMachine

# nsenter waits in front of a command that joined the site, which dies with it: Ctrl-C
# must reach the command alone.
_DEAF = ("env", "--ignore-signal=INT,QUIT")
_KEEN = ("env", "--default-signal=INT,QUIT")
_COMMAND_S = 24 * 3600.0
# The login shell of root, on the commands of standard input.
_SCRIPT = 'exec "${SHELL:-/bin/sh}" -l'


@dataclass(frozen=True, slots=True)
class GuestShell:
    """One `harness sh`. One word is for the guest's shell, several are a command."""

    machine: RunningMachine
    words: tuple[str, ...]

    @property
    def remote(self) -> str:
        """What root's shell in the guest is to run; empty for a prompt."""
        if self.words:
            return self.words[0] if len(self.words) == 1 else shlex.join(self.words)
        return "" if self.typed else _SCRIPT

    @property
    def typed(self) -> bool:
        """Whether input and output are a terminal: then the guest gives one too."""
        return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()

    @property
    def prompt(self) -> bool:
        """Whether a prompt is wanted, on a terminal."""
        return self.typed and not self.words

    def run(self) -> int:
        """Run it to its end; return its exit status. Raises HarnessError."""
        for address in self._addresses():
            status, connected = self._ssh(address)
            if connected:
                return status
        if self.prompt:
            return self._console()
        return self._agent()

    def _addresses(self) -> list[IPv4Address]:
        """Prepare a login by ssh; return where to try it, or say why nowhere."""
        key = access.Key.of(self.machine)
        if not self.machine.client:
            err.print("No ssh: the way into the machine's network is not known.")
            return []
        try:
            with access.guest_agent(self.machine) as guest:
                found = key.prepare(guest, self.machine.ip)
        except HarnessError as error:
            if earlier := key.addresses():
                return [IPv4Address(text) for text in earlier]
            if isinstance(error, DeadlineExpired) and not self.prompt:
                raise  # the agent is not asked twice
            err.print(f"No ssh: {error}", markup=False)
            return []
        if not found:
            err.print("No ssh: the guest has no address.")
        return found

    def _ssh(self, address: IPv4Address) -> tuple[int, bool]:
        key = access.Key.of(self.machine)
        connected = key.directory / f"connected-{os.getpid()}"
        argv = ssh.session(
            address,
            self.remote,
            key=key.file,
            known=key.known(address),
            connected=connected,
            terminal=self.typed,
        )
        try:
            status = attached(on_client(self.machine, argv))
            return status, connected.exists()
        finally:
            connected.unlink(missing_ok=True)

    def _agent(self) -> int:
        """Run the command or script over the agent: output comes at the end."""
        words, script = self.words, b""
        if not words:
            words, script = ("/bin/sh", "-l"), sys.stdin.buffer.read()
        elif len(words) == 1:
            words = ("/bin/sh", "-c", words[0])
        err.print("ssh does not get in: over the guest agent, output comes at the end.")
        with access.guest_agent(self.machine) as guest:
            result = guest.execute(*words, timeout=_COMMAND_S, stdin=script)
        sys.stdout.write(result.stdout)
        sys.stdout.flush()
        sys.stderr.write(result.stderr)
        return result.rc

    def _console(self) -> int:
        err.print("ssh does not get in: the serial console instead.")
        attach_console(self.machine, log_in=True)
        return 0


def on_client(machine: RunningMachine, argv: Sequence[str]) -> list[str]:
    """Prefix a command so that it runs on the LAN client of a machine's site."""
    return [*_DEAF, *machine.client, *_KEEN, *argv]


def attached(
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
) -> int:
    """Run a command on our own input and output; return its exit status.

    Ctrl-C is the command's to act on; ended by a signal, its status is a shell's.
    """
    if shutil.which(argv[0]) is None:
        raise HarnessError(f"{argv[0]} is not installed", hint="see `harness doctor`")
    streams = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
    with (
        _interrupts_left(),
        spawn(
            [*leashed("TERM"), *argv],
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            pass_fds=pass_fds,
            grace=2.0,
        ) as child,
    ):
        status = child.wait()
    return 128 - status if status < 0 else status


@contextmanager
def _interrupts_left() -> Iterator[None]:
    # A handler, not SIG_IGN: children inherit that one, and would not hear Ctrl-C.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
