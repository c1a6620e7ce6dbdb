"""QMP with a synchronous face.

The protocol is `qemu.qmp`'s, which is asynchronous: one event loop runs in one thread,
both of which end with the `with`. Every message is kept in `qmp.jsonl`, every event in
memory with the time it came.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate

from harness.deadline import Deadline, poll
from harness.errors import HarnessError, MachineDied, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path
    from typing import IO

T = TypeVar("T")

# A QMP command is answered within milliseconds; a minute means a stuck main loop.
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """One QMP event; `at` is on this host's monotonic clock, seconds."""

    name: str
    at: float
    data: dict[str, Any] = field(default_factory=dict)


class Qmp:
    """A connection to a running QEMU. Make one with `connect`."""

    def __init__(self, client: _Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event so far, oldest first."""
        return tuple(self._client.seen)

    @property
    def connected(self) -> bool:
        """Whether QEMU still listens."""
        return bool(self._client.runstate == Runstate.RUNNING)

    def execute(self, command: str, /, **arguments: object) -> Any:
        """Execute a command and return what QEMU returned.

        Arguments take `_` for `-`. Raises MachineError when QEMU refuses, MachineDied
        when it is gone.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            return self._run(self._client.execute(command, named or None), command)
        except ExecuteError as error:
            raise MachineError(f"QEMU refused {command}", seen=str(error)) from error

    def quit(self, seconds: float) -> None:
        """Ask QEMU to end, and wait so long for it to agree. Raises MachineError."""
        self._run(self._client.execute("quit"), "quit", seconds)

    def give_fd(self, name: str, descriptor: int) -> None:
        """Hand QEMU an open file under a name, for `fd:NAME` addresses."""

        async def give() -> None:
            self._client.send_fd_scm(descriptor)
            await self._client.execute("getfd", {"fdname": name})

        self._run(give(), "getfd")

    def wait_event(
        self,
        *names: str,
        deadline: Deadline,
        since: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> Event:
        """Wait for the first event of these names among `events[since:]`.

        `check` may raise to give up early. Raises DeadlineExpired, or MachineDied when
        QEMU ended without it.
        """

        def look() -> Event | None:
            gone = not self.connected
            for event in self.events[since:]:
                if event.name in names:
                    return event
            check()
            if gone:
                raise MachineDied(
                    f"QEMU ended before {' or '.join(names)}", seen=self._seen(since)
                )
            return None

        return poll(look, deadline, interval=0.02, seen=lambda: self._seen(since))

    def _seen(self, since: int) -> str:
        names = [event.name for event in self.events[since:]]
        return f"QMP events {', '.join(names)}" if names else "no QMP event"

    def _run(
        self, coroutine: Coroutine[Any, Any, T], what: str, seconds: float = _ANSWER_S
    ) -> T:
        """Run a coroutine in the loop's thread and wait for it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(seconds)
        except ExecuteError:
            raise
        except TimeoutError as error:
            future.cancel()
            raise MachineError(
                f"QEMU did not answer {what}", seen=f"nothing for {seconds:.1f} s"
            ) from error
        except (QMPError, EOFError, OSError) as error:
            raise MachineDied(
                f"QEMU was gone when asked to {what}", seen=f"{error}"
            ) from error


@contextmanager
def connect(wire: socket.socket, journal: Path, deadline: Deadline) -> Iterator[Qmp]:
    """Speak QMP over a connected socket for the length of the `with`.

    Takes the socket over. Raises MachineDied when the other end hangs up instead of
    greeting, DeadlineExpired when it stays silent.
    """
    with journal.open("a", encoding="utf-8") as lines, _loop() as loop:
        client = _Client(lines)
        qmp = Qmp(client, loop)
        _greet(client, loop, wire, deadline)
        try:
            yield qmp
        finally:
            # How the connection ended is told by the process's end, not by this.
            with suppress(HarnessError):
                qmp._run(client.hang_up(), "disconnect")  # noqa: SLF001 - same module


def _greet(
    client: _Client,
    loop: asyncio.AbstractEventLoop,
    wire: socket.socket,
    deadline: Deadline,
) -> None:
    """Have the client connect; when that fails, it has closed the socket."""
    greeting = asyncio.run_coroutine_threadsafe(client.connect(wire), loop)
    try:
        greeting.result(deadline.remaining)
    except TimeoutError as error:
        # The client tidies up after a hang-up, not after being cancelled.
        wire.shutdown(socket.SHUT_RDWR)
        greeting.exception(_ANSWER_S)
        raise deadline.error("no QMP greeting") from error
    except (QMPError, EOFError, OSError) as error:
        raise MachineDied("QEMU ended before its greeting") from error


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own; join it at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="qmp", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_rest(), loop).result(_ANSWER_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_rest() -> None:
    """End every task but this one, so that closing the loop loses none."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class _Client(QMPClient):
    """A `QMPClient` that keeps what it hears."""

    def __init__(self, lines: IO[str]) -> None:
        super().__init__("machine")
        self.seen: list[Event] = []
        self._lines = lines
        self._listener = EventListener()
        self.register_listener(self._listener)
        # Its own reports of a hang-up are noise: here QEMU's end is an ordinary event.
        self.logger.disabled = True

    def _cb_outbound(self, msg: Any) -> Any:
        self._keep("out", msg)
        return msg

    def _cb_inbound(self, msg: Any) -> Any:
        self._keep("in", msg)
        if "event" in msg:
            event = Event(msg["event"], time.monotonic(), dict(msg.get("data", {})))
            self.seen.append(event)
        return msg

    def _keep(self, direction: str, message: Any) -> None:
        line = {"at": round(time.time(), 4), direction: dict(message)}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    async def hang_up(self) -> None:
        """Disconnect; an end of file is how QEMU's side usually ended already."""
        with suppress(EOFError, OSError, QMPError):
            await self.disconnect()
