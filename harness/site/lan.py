"""A host on the LAN: its connections and its neighbour cache."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harness.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address

    from harness.process import Completed
    from harness.site.sandbox import Sandbox

ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
ARP_REQUEST, ARP_REPLY = 1, 2
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_ASK_BUDGET = 5.0
_HTTP_BODY_MAX = 1 << 20


class HttpAnswer(NamedTuple):
    """What a web server said; status 0 when it said nothing, with why as the body."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One entry of a host's ARP cache; `state` in the kernel's words, as STALE."""

    mac: str
    state: str


@dataclass(frozen=True, slots=True)
class Eye:
    """A port on the bridge that asks who has an address and leaves no trace.

    It asks as an address of its own that no one uses and its kernel does no ARP, so
    neither the caches of the LAN's hosts nor a machine's entry for them is refreshed.
    """

    sandbox: Sandbox
    host: str
    ip: IPv4Address
    mac: str

    def ear(self) -> socket.socket:
        """Open a raw socket that asks and hears ARP on the eye's port."""
        ear = self.sandbox.open_socket(
            socket.SOCK_RAW,
            host=self.host,
            family=socket.AF_PACKET,
            protocol=socket.htons(ETH_P_ARP),
        )
        ear.bind(("eth0", ETH_P_ARP))
        return ear

    def who_has(self, ip: IPv4Address, *, window: float = 0.3) -> set[str]:
        """Ask the LAN once and gather every MAC that answers within `window` s."""
        with self.ear() as ear:
            ear.send(arp_request(self.mac, self.ip, ip))
            return set(_answers(ear, self.mac, ip, time.monotonic() + window))


@dataclass(frozen=True, slots=True)
class LanHost:
    """A host on the LAN; `host` names its namespace, None is the gateway's own."""

    name: str
    ip: IPv4Address
    mac: str
    interface: str
    host: str | None
    sandbox: Sandbox
    eye: Eye

    def execute(self, argv: Sequence[str], *, deadline: Deadline) -> Completed:
        """Run a command on this host to its end; the exit status is the caller's."""
        return self.sandbox.run(argv, host=self.host, deadline=deadline)

    def neighbours(self) -> dict[str, Neighbour]:
        """Read this host's ARP cache: what it believes about each address."""
        listed = self._ip("-json", "neighbour", "show", "dev", self.interface)
        return parse_neighbours(listed)

    def pin_neighbour(self, ip: IPv4Address, mac: str) -> None:
        """Make a permanent neighbour entry: `ip` has `mac`, despite announcements."""
        words = ["lladdr", mac, "nud", "permanent", "dev", self.interface]
        self._ip("neighbour", "replace", str(ip), *words)

    def forget_neighbour(self, ip: IPv4Address) -> None:
        """Drop what this host believes about an address, if anything."""
        if str(ip) in self.neighbours():
            self._ip("neighbour", "delete", str(ip), "dev", self.interface)

    def arping(self, ip: IPv4Address, *, window: float = 0.3) -> set[str]:
        """Gather every MAC on the LAN that answers for an address within `window` s.

        Asked from the site's eye, so that no cache changes, this host's included.
        """
        return self.eye.who_has(ip, window=window)

    def announce(self) -> None:
        """Send one gratuitous ARP announcement of this host's address."""
        with self.sandbox.open_socket(
            socket.SOCK_RAW, host=self.host, family=socket.AF_PACKET
        ) as mouth:
            mouth.bind((self.interface, ETH_P_ARP))
            mouth.send(arp_request(self.mac, self.ip, self.ip))

    def open_socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Open an IPv4 socket that lives on this host, usable from this process."""
        return self.sandbox.open_socket(kind, host=self.host, family=socket.AF_INET)

    def connect(
        self, ip: IPv4Address, port: int, *, deadline: Deadline
    ) -> socket.socket:
        """Open a TCP connection from this host. Raises OSError as a socket does."""
        connection = self.open_socket()
        try:
            connection.settimeout(max(0.001, deadline.remaining))
            connection.connect((str(ip), port))
        except BaseException:
            connection.close()
            raise
        return connection

    def tcp(self, ip: IPv4Address, port: int, deadline: Deadline) -> bool:
        """Whether a full TCP connection from this host succeeds in time."""
        try:
            self.connect(ip, port, deadline=deadline).close()
        except OSError:
            return False
        return True

    def http(
        self,
        ip: IPv4Address,
        port: int,
        path: str = "/",
        *,
        deadline: Deadline | None = None,
    ) -> HttpAnswer:
        """GET a page from this host; the deadline defaults to five seconds.

        A server that cannot be reached or speaks no HTTP yields status 0.
        """
        until = deadline or Deadline.after(_ASK_BUDGET, f"http://{ip}:{port}{path}")
        server = http.client.HTTPConnection(str(ip), port)
        try:
            server.sock = self.connect(ip, port, deadline=until)
            server.request("GET", path, headers={"Connection": "close"})
            response = server.getresponse()
            body = response.read(_HTTP_BODY_MAX).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return HttpAnswer(0, f"{type(error).__name__}: {error}")
        finally:
            server.close()
        return HttpAnswer(response.status, body)

    def _ip(self, *words: str) -> str:
        asked = Deadline.after(_ASK_BUDGET, f"ip {' '.join(words)} on {self.name}")
        return self.execute(["ip", *words], deadline=asked).check().stdout


def parse_neighbours(listed: str) -> dict[str, Neighbour]:
    """Read what `ip -json neighbour show` prints; an unanswered entry has MAC ''."""
    return {
        entry["dst"]: Neighbour(entry.get("lladdr", ""), "|".join(entry["state"]))
        for entry in json.loads(listed or "[]")
    }


def arp_request(mac: str, sender: IPv4Address, target: IPv4Address) -> bytes:
    """Build the broadcast frame that asks who has `target`."""
    ours = bytes.fromhex(mac.replace(":", ""))
    ethernet_ipv4 = (1, 0x0800, 6, 4)
    return _ARP.pack(
        BROADCAST,
        ours,
        ETH_P_ARP,
        *ethernet_ipv4,
        ARP_REQUEST,
        ours,
        sender.packed,
        bytes(6),
        target.packed,
    )


def arp_answer(frame: bytes, mac: str, asked: IPv4Address) -> str | None:
    """Return whose MAC a frame gives for `asked` in answer to `mac`, if it does."""
    if len(frame) < _ARP.size:
        return None
    fields = _ARP.unpack(frame[: _ARP.size])
    operation, sender_mac, sender_ip, target_mac = fields[7:11]
    ours = bytes.fromhex(mac.replace(":", ""))
    if (operation, sender_ip, target_mac) != (ARP_REPLY, asked.packed, ours):
        return None
    return ":".join(f"{octet:02x}" for octet in sender_mac)


def _answers(
    ear: socket.socket, mac: str, asked: IPv4Address, until: float
) -> Iterator[str]:
    while (left := until - time.monotonic()) > 0:
        ear.settimeout(left)
        try:
            answer = arp_answer(ear.recv(128), mac, asked)
        except TimeoutError:
            return
        if answer is not None:
            yield answer
