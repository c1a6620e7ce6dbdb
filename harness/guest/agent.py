"""Commands and files in a guest, through the QEMU guest agent."""

from __future__ import annotations

import base64
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.deadline import Deadline, tick
from harness.errors import DeadlineExpired, HarnessError, MachineError
from harness.guest.transport import (
    ENVIRONMENT,
    NOT_FOUND,
    PATH,
    CommandResult,
    TransportLost,
    abbreviate,
)
from harness.guest.wire import AgentError, Wire, misread, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["AgentError", "AgentTransport", "RunningCommand"]

log = logging.getLogger(__name__)

# A status query costs the guest CPU time (5 ms under emulation, and the agent logs each
# one): asking every 2 ms makes a command slower than asking every 20 ms does. Long
# commands are asked after ever more rarely.
_STATUS = "guest-exec-status"
_FIRST_POLL = 0.02
_SLOWEST_POLL = 0.5
_POLL_SHARE = 0.1
# An agent that does not answer a status query for this long is out of step or gone.
_STATUS_PATIENCE = 15.0
_CHUNK = 1 << 20
# More than an answer under load takes, less than anybody would notice.
_CLOCK_ERROR = 2.0

# The agent starts no process group, so the descendants are found through /proc; each is
# stopped first, so that it cannot fork while its children are being looked up.
_KILL_TREE = """
end() {
  kill -STOP "$1" 2>/dev/null
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do end "$child"; done
  kill -KILL "$1" 2>/dev/null
}
end "$1"
"""


class AgentTransport:
    """Runs commands as root in a guest whose agent listens on a unix socket.

    Several threads may use one transport: each question to the agent is asked and
    answered under a lock, and commands may overlap. `watch` is called at least four
    times a second while something is awaited and may raise when it knows better.
    """

    def __init__(
        self, socket: Path, *, watch: Callable[[], None] = lambda: None
    ) -> None:
        self.socket = socket
        self._watch = watch
        self._wire = Wire(socket, watch)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the connection; the next command opens a new one."""
        with self._lock:
            self._wire.close()

    def ping(self, deadline: Deadline) -> None:
        """Wait until the agent answers; raises DeadlineExpired."""
        with self._lock:
            self._wire.sync(deadline)
            self._wire.request("guest-ping", deadline)

    def request(self, command: str, *, deadline: Deadline, **arguments: object) -> Any:
        """Ask the agent for one thing by its protocol name, and return its answer.

        Raises AgentError, DeadlineExpired, TransportLost.
        """
        with self._lock:
            return self._wire.request(command, deadline, **arguments)

    def execute(
        self, argv: Sequence[str], *, deadline: Deadline, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command to its end; its exit status is the caller's to judge.

        Standard input is closed after `stdin`. When the deadline passes, the command
        and its descendants are killed as far as the agent still answers, and
        DeadlineExpired is raised. Raises TransportLost when the guest rebooted.
        """
        return self.start(argv, deadline=deadline, stdin=stdin).wait(deadline)

    def start(
        self, argv: Sequence[str], *, deadline: Deadline, stdin: bytes = b""
    ) -> RunningCommand:
        """Start a command without waiting for it; others may run meanwhile."""
        name = argv[0]
        failure = f"{name}: not found in {':'.join(PATH)}"
        for path in self._candidates(name, deadline):
            try:
                pid = self._exec(path, argv[1:], stdin, deadline)
            except AgentError as error:
                if not _no_such_program(error):
                    raise
                failure = error.description
            else:
                return RunningCommand(self, tuple(argv), pid)
        return RunningCommand(self, tuple(argv), 0, failure=failure)

    def write_file(self, path: str, data: bytes, *, deadline: Deadline) -> None:
        """Create or replace a file in the guest; its directory must exist."""
        with self._lock:
            handle = self._open(path, "w", deadline)
            try:
                for start in range(0, len(data), _CHUNK):
                    self._write_chunk(handle, data[start : start + _CHUNK], deadline)
            finally:
                self._wire.request("guest-file-close", deadline, handle=handle)

    def read_file(self, path: str, *, deadline: Deadline) -> bytes:
        """Read a whole file of the guest. Raises AgentError if it cannot be opened."""
        with self._lock:
            handle = self._open(path, "r", deadline)
            try:
                return b"".join(self._chunks(handle, deadline))
            finally:
                self._wire.request("guest-file-close", deadline, handle=handle)

    def set_time(self, deadline: Deadline) -> None:
        """Set the guest's clock to the host's.

        A restored machine has the time at which it was saved. Raises
        MachineError when the clock is still wrong afterwards.
        """
        # The agent sets the clock, then calls `/sbin/hwclock`, which many guests lack:
        # its refusal says nothing, so the clock is asked. 30 ms instead of the 200 ms
        # that a `date` would take.
        with suppress(AgentError):
            self.request("guest-set-time", deadline=deadline, time=time.time_ns())
        error = self.time(deadline) - time.time()
        if abs(error) > _CLOCK_ERROR:
            raise MachineError("cannot set the guest's clock", seen=f"{error:+.3f} s")

    def time(self, deadline: Deadline) -> float:
        """Return the guest's clock: seconds since 1970."""
        return float(self.request("guest-get-time", deadline=deadline)) / 1e9

    def shutdown(
        self, deadline: Deadline, mode: Literal["powerdown", "reboot", "halt"]
    ) -> None:
        """Ask the guest to go down; the agent answers only to refuse."""
        with self._lock:
            self._wire.sync(deadline)
            try:
                self._wire.post(
                    "guest-shutdown", deadline.sub(2.0, "a refusal"), mode=mode
                )
            finally:
                self._wire.close()

    def kill(self, pid: int, deadline: Deadline) -> None:
        """Kill a process of the guest and all its descendants."""
        argv = ["/bin/sh", "-c", _KILL_TREE, "sh", str(pid)]
        self.execute(argv, deadline=deadline)

    def _candidates(self, name: str, deadline: Deadline) -> Iterator[str]:
        """Find where a program is, in the order of PATH.

        Asking the agent for the file costs 2 ms each; a failed attempt to run it costs
        the guest a fork, and a `sh` or `env` that searches a whole program start.
        """
        if "/" in name:
            yield name
            return
        for directory in PATH:
            path = f"{directory}/{name}"
            if self._exists(path, deadline):
                yield path

    def _exists(self, path: str, deadline: Deadline) -> bool:
        """Whether a file exists; where the agent refuses to say, opening it decides."""
        with self._lock:
            try:
                handle = self._open(path, "r", deadline)
            except AgentError as error:
                return not _no_such_program(error)
            self._wire.request("guest-file-close", deadline, handle=handle)
            return True

    def _exec(
        self, path: str, args: Sequence[str], stdin: bytes, deadline: Deadline
    ) -> int:
        arguments: dict[str, object] = {
            "path": path,
            "arg": list(args),
            "env": [f"{key}={value}" for key, value in ENVIRONMENT.items()],
            "capture-output": True,
        }
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        answer = self.request("guest-exec", deadline=deadline, **arguments)
        return int(part(answer, "guest-exec", "pid"))

    def _open(self, path: str, mode: str, deadline: Deadline) -> int:
        answer = self._wire.request("guest-file-open", deadline, path=path, mode=mode)
        try:
            return int(answer)
        except (TypeError, ValueError):
            raise misread("guest-file-open", answer) from None

    def _write_chunk(self, handle: int, data: bytes, deadline: Deadline) -> None:
        while data:
            answer = self._wire.request(
                "guest-file-write",
                deadline,
                handle=handle,
                **{"buf-b64": base64.b64encode(data).decode()},
            )
            data = data[int(part(answer, "guest-file-write", "count")) :]

    def _chunks(self, handle: int, deadline: Deadline) -> Iterator[bytes]:
        while True:
            answer = self._wire.request(
                "guest-file-read", deadline, handle=handle, count=_CHUNK
            )
            yield base64.b64decode(part(answer, "guest-file-read", "buf-b64"))
            if part(answer, "guest-file-read", "eof"):
                return


@dataclass(slots=True)
class RunningCommand:
    """A command under way in the guest; `wait` for it before the guest reboots."""

    transport: AgentTransport
    argv: tuple[str, ...]
    pid: int
    failure: str = ""
    result: CommandResult | None = None

    def poll(self, deadline: Deadline) -> CommandResult | None:
        """Return how the command ended, or None while it runs.

        Raises TransportLost when the agent does not know the command any more.
        """
        if self.result is None:
            self.result = self._ask(deadline)
        return self.result

    def wait(self, deadline: Deadline) -> CommandResult:
        """Wait for the end; at the deadline kill the command, raise DeadlineExpired."""
        started = time.monotonic()
        while (result := self.poll(deadline)) is None:
            if deadline.expired:
                self.kill()
                raise deadline.error(f"still running: {abbreviate(self.argv)}")
            age = time.monotonic() - started
            pause = min(max(_FIRST_POLL, age * _POLL_SHARE), _SLOWEST_POLL)
            tick(time.monotonic(), min(pause, deadline.remaining), 1)
        return result

    def kill(self) -> None:
        """Kill the command and its descendants, as far as the agent still answers."""
        if self.result is not None or not self.pid:
            return
        try:
            self.transport.kill(
                self.pid, Deadline.after(5.0, f"killing {abbreviate(self.argv)}")
            )
        except HarnessError as error:
            log.warning("pid %d may still run in the guest: %s", self.pid, error)

    def _ask(self, deadline: Deadline) -> CommandResult | None:
        if not self.pid:
            return CommandResult(self.argv, NOT_FOUND, "", f"{self.failure}\n")
        awaited = f"the status of {abbreviate(self.argv)}"
        try:
            status = self.transport.request(
                _STATUS,
                deadline=Deadline.after(_STATUS_PATIENCE, awaited)
                if deadline.expired
                else deadline.sub(_STATUS_PATIENCE, awaited),
                pid=self.pid,
            )
        except AgentError as error:
            raise TransportLost(
                f"the guest agent forgot {abbreviate(self.argv)}",
                seen=error.description,
                hint="the agent was restarted, or the guest rebooted, meanwhile",
            ) from error
        except DeadlineExpired:
            if deadline.expired:
                raise
            return None
        return self._result(status) if part(status, _STATUS, "exited") else None

    def _result(self, status: dict[str, Any]) -> CommandResult:
        if status.get("out-truncated") or status.get("err-truncated"):
            raise MachineError(
                f"more output than the guest agent keeps: {abbreviate(self.argv)}",
                hint="let the command write a file and read that",
            )
        signal = status.get("signal")
        return CommandResult(
            self.argv,
            128 + int(signal)
            if signal is not None
            else int(part(status, _STATUS, "exitcode")),
            base64.b64decode(status.get("out-data", "")).decode(errors="replace"),
            base64.b64decode(status.get("err-data", "")).decode(errors="replace"),
        )


def _no_such_program(error: AgentError) -> bool:
    """Whether a refusal is about the program, and not about the agent's own ability."""
    reasons = ("Failed to execute child process", "No such file", "Not a directory")
    return any(reason in error.description for reason in reasons)
