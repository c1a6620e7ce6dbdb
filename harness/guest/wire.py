"""One connection to a QEMU guest agent: requests, answers, synchronisation.

Protocol: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html. One JSON request
at a time, answered in order; after anything that went wrong the two ends are brought
back in step by `guest-sync-delimited`, whose answer follows a 0xFF byte.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import DeadlineExpired, MachineError
from harness.guest.transport import TransportLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.deadline import Deadline

_SENTINEL = b"\xff"
# How long one socket call may block before `watch` is asked whether all is well.
_SLICE = 0.25
# An agent that is up answers a sync at once; one that boots gets a new one this often.
_SYNC_EVERY = 2.0

_IDS = itertools.count(int(time.time()) & 0xFFFFFF)


class AgentError(MachineError):
    """The guest agent refused a request; `description` is its own sentence."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"the guest agent refused {command}", seen=description)
        self.command = command
        self.description = description


def misread(command: str, answer: object) -> MachineError:
    """Return the error about an answer of the agent that lacks what it has to have."""
    return MachineError(
        f"the guest agent's answer to {command} cannot be read", seen=str(answer)[:200]
    )


def part(answer: object, command: str, key: str) -> Any:
    """Return a part of the agent's answer to a command. Raises MachineError."""
    if not isinstance(answer, dict) or key not in answer:
        raise misread(command, answer)
    return answer[key]


class Wire:
    """A connection to the agent's socket, made when first needed.

    `watch` is called at least four times a second while an answer is awaited; it may
    raise when it knows that none will come, for example because QEMU has ended.
    """

    def __init__(self, path: Path, watch: Callable[[], None]) -> None:
        self.path = path
        self._watch = watch
        self._sock: socket.socket | None = None
        self._buffer = bytearray()
        self._in_step = False

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._buffer.clear()
        self._in_step = False

    def sync(self, deadline: Deadline) -> None:
        """Synchronise both ends, however long the agent needs to start.

        Answers to requests that are no longer awaited are dropped.
        Raises DeadlineExpired.
        """
        while True:
            attempt = deadline.sub(_SYNC_EVERY, deadline.awaited)
            try:
                self._sync_once(attempt)
            except DeadlineExpired as error:
                if deadline.expired:
                    raise deadline.error("the guest agent does not answer") from error
            else:
                return

    def request(self, command: str, deadline: Deadline, **arguments: object) -> Any:
        """Ask for one thing and return the agent's answer.

        Raises AgentError when it refuses, DeadlineExpired, TransportLost.
        """
        self._ready(deadline)
        # Until the answer is here, the ends are out of step whatever happens.
        self._in_step = False
        self._send(_encode(command, arguments), deadline)
        answer = _decode(self._line(deadline))
        self._in_step = True
        if "error" in answer:
            error = answer["error"]
            said = error.get("desc", answer) if isinstance(error, dict) else error
            raise AgentError(command, str(said))
        return answer.get("return")

    def post(self, command: str, deadline: Deadline, **arguments: object) -> None:
        """Ask for something that is answered only if it is refused.

        Waits until `deadline` for the refusal; silence is success.
        """
        with suppress(DeadlineExpired, TransportLost):
            self.request(command, deadline, **arguments)

    def _ready(self, deadline: Deadline) -> None:
        if not self._in_step:
            self.sync(deadline)

    def _sync_once(self, deadline: Deadline) -> None:
        number = next(_IDS)
        # The first 0xFF makes the agent forget half a request that it may hold.
        hello = _SENTINEL + _encode("guest-sync-delimited", {"id": number})
        self._send(hello, deadline)
        while True:
            _, sentinel, line = self._line(deadline).rpartition(_SENTINEL)
            if sentinel and _decode(line).get("return") == number:
                break
        self._in_step = True

    def _send(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            with self._socket(deadline) as sock:
                view = view[sock.send(view) :]

    def _line(self, deadline: Deadline) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            with self._socket(deadline) as sock:
                data = sock.recv(1 << 16)
                if not data:
                    self._lost("the other end closed the connection")
                self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    @contextmanager
    def _socket(self, deadline: Deadline) -> Iterator[socket.socket]:
        """Lend the socket for one call that may block for a slice of time."""
        self._watch()
        if deadline.expired:
            raise deadline.error("no answer from the guest agent")
        patience = min(_SLICE, max(0.001, deadline.remaining))
        try:
            if self._sock is None:
                self._sock = _connect(self.path, patience)
            self._sock.settimeout(patience)
            yield self._sock
        except TimeoutError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error), error)

    def _lost(self, seen: str, cause: BaseException | None = None) -> NoReturn:
        self.close()
        self._watch()
        raise TransportLost(
            "lost the guest agent's socket", seen=f"{self.path}: {seen}"
        ) from cause


def _connect(path: Path, patience: float) -> socket.socket:
    """Connect to a unix socket, however long its path: the kernel takes 107 bytes."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(patience)
        sock.connect(f"/proc/self/fd/{directory}/{path.name}")
    except OSError:
        sock.close()
        raise
    finally:
        os.close(directory)
    return sock


def _encode(command: str, arguments: dict[str, object]) -> bytes:
    message: dict[str, object] = {"execute": command}
    if arguments:
        message["arguments"] = arguments
    return json.dumps(message).encode() + b"\n"


def _decode(line: bytes) -> dict[str, Any]:
    """Parse one answer; what is not an answer at all is an empty one."""
    with suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict):
            return answer
    return {}
