"""systemd and logind over one D-Bus connection.

One connection for a whole switch: every `systemctl` would cost the better part of a
second under emulation. The D-Bus protocol itself is python3-jeepney's.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

from jeepney import (  # type: ignore[import-not-found]
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    Parser,
    message_bus,
    new_method_call,
)
from jeepney.io.blocking import prep_socket  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM_BUS = "/run/dbus/system_bus_socket"
SYSTEMD = "org.freedesktop.systemd1"
LOGIND = "org.freedesktop.login1"
# systemd's own limit is 180 s (basic/constants.h): too short under emulation.
RELOAD_SECONDS = 600.0
# An ordinary call is answered at once, but not by an emulated machine on a busy host.
CALL_SECONDS = 180.0


class BusError(Exception):
    """The other side answered with an error, or not at all."""


class Bus:
    """A connection to a bus, or to a manager's private socket (`hello=False`)."""

    def __init__(self, path: str = SYSTEM_BUS, *, hello: bool = True) -> None:
        self._socket = prep_socket(path, timeout=CALL_SECONDS)
        self._parser = Parser()
        self._serials = count(1)
        self._handlers: list[Callable[[str, tuple[Any, ...]], None]] = []
        if hello:
            self._request(message_bus.Hello())

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def watch(self, handler: Callable[[str, tuple[Any, ...]], None]) -> None:
        """Have signals of systemd's manager handed to `handler` by name and content."""
        rule = MatchRule(type="signal", interface=f"{SYSTEMD}.Manager")
        self._request(message_bus.AddMatch(rule))
        self._handlers.append(handler)

    def call(
        self, address: DBusAddress, method: str, signature: str = "", *body: object
    ) -> tuple[Any, ...]:
        """Call a method and wait for its answer."""
        return self._request(new_method_call(address, method, signature or None, body))

    def send(self, address: DBusAddress, method: str) -> None:
        """Call a method that never answers (a re-executing manager cannot)."""
        message = new_method_call(address, method)
        self._socket.sendall(message.serialise(serial=next(self._serials)))

    def pump(self, seconds: float) -> bool:
        """Handle one incoming message; False where none came in time."""
        message = self._receive(time.monotonic() + seconds)
        if message is None:
            return False
        self._dispatch(message)
        return True

    def _request(self, message: Message) -> tuple[Any, ...]:
        serial = next(self._serials)
        self._socket.sendall(message.serialise(serial=serial))
        deadline = time.monotonic() + CALL_SECONDS
        while (answer := self._receive(deadline)) is not None:
            if answer.header.fields.get(HeaderFields.reply_serial) != serial:
                self._dispatch(answer)
            elif answer.header.message_type is MessageType.error:
                name = answer.header.fields.get(HeaderFields.error_name)
                raise BusError(f"{name}: {' '.join(map(str, answer.body))}")
            else:
                return tuple(answer.body)
        raise BusError(f"no answer within {CALL_SECONDS:.0f} s")

    def _receive(self, deadline: float) -> Message | None:
        while (message := self._parser.get_next_message()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            if not data:
                raise BusError("the connection was closed")
            self._parser.add_data(data)
        return message

    def _dispatch(self, message: Message) -> None:
        if message.header.message_type is MessageType.signal:
            member = message.header.fields[HeaderFields.member]
            for handler in self._handlers:
                handler(member, tuple(message.body))


class Manager:
    """systemd's manager: units and jobs."""

    ADDRESS = DBusAddress(
        "/org/freedesktop/systemd1", bus_name=SYSTEMD, interface=f"{SYSTEMD}.Manager"
    )

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._jobs: dict[str, str] = {}  # verb by job path, of jobs under way
        self.results: list[tuple[str, str, str]] = []  # verb, unit, result
        self._early: dict[str, tuple[str, str]] = {}
        self._reloading = False

    def subscribe(self) -> None:
        """Ask for signals; without this the manager sends none."""
        self.bus.watch(self._signal)
        self.bus.call(self.ADDRESS, "Subscribe")

    def _signal(self, member: str, body: tuple[Any, ...]) -> None:
        if member == "Reloading":
            self._reloading = bool(body[0])
        elif member == "JobRemoved":
            _, path, unit, result = body
            if path in self._jobs:
                self.results.append((self._jobs.pop(path), unit, result))
            else:
                # Finished before the call that submitted it was answered.
                self._early[path] = (unit, result)

    def active_units(self) -> dict[str, tuple[str, str]]:
        """ActiveState and SubState of each unit that is not inactive."""
        (units,) = self.bus.call(self.ADDRESS, "ListUnits")
        # name, description, load state, active state, sub state, following, path, job
        return {
            name: (state, sub_state)
            for name, _, _, state, sub_state, following, *_ in units
            if not following and state != "inactive"
        }

    def unit_property(self, unit: str, interface: str, name: str) -> Any:
        """One property of a loaded unit."""
        (path,) = self.bus.call(self.ADDRESS, "GetUnit", "s", unit)
        address = DBusAddress(
            path, bus_name=SYSTEMD, interface="org.freedesktop.DBus.Properties"
        )
        ((_, value),) = self.bus.call(
            address, "Get", "ss", f"{SYSTEMD}.{interface}", name
        )
        return value

    def submit(self, verb: str, unit: str) -> None:
        """Queue a `start`, `stop`, `restart` or `reload` job."""
        (path,) = self.bus.call(
            self.ADDRESS, f"{verb.capitalize()}Unit", "ss", unit, "replace"
        )
        if path in self._early:
            self.results.append((verb, *self._early.pop(path)))
        else:
            self._jobs[path] = verb

    def wait_for_jobs(self) -> None:
        """Return once every submitted job is done; jobs have time limits themselves."""
        while self._jobs:
            self.bus.pump(0.5)

    def reset_failed(self) -> None:
        """Forget about units that failed before."""
        self.bus.call(self.ADDRESS, "ResetFailed")

    def reload(self) -> None:
        """Make systemd read its unit files again, and wait for it."""
        self._wait_reloaded("Reload")

    def reexecute(self) -> None:
        """Replace PID 1 by the binary at its path, and wait for it."""
        self._wait_reloaded("Reexecute")

    def _wait_reloaded(self, method: str) -> None:
        self._reloading = True
        self.bus.send(self.ADDRESS, method)
        deadline = time.monotonic() + RELOAD_SECONDS
        while self._reloading:
            if time.monotonic() > deadline:
                raise BusError(f"systemd's {method} took over {RELOAD_SECONDS:.0f} s")
            self.bus.pump(0.5)


def logged_in_users(bus: Bus) -> list[tuple[int, str]]:
    """User id and name of everyone whom logind knows, lingering users included."""
    address = DBusAddress(
        "/org/freedesktop/login1", bus_name=LOGIND, interface=f"{LOGIND}.Manager"
    )
    (users,) = bus.call(address, "ListUsers")
    return [(user[0], user[1]) for user in users]


def reexecute_user_manager(uid: int) -> None:
    """Have a user's own systemd re-execute itself; run as that user."""
    bus = Bus(f"/run/user/{uid}/systemd/private", hello=False)
    bus.send(Manager.ADDRESS, "Reexecute")
    bus.close()
