"""The network view: a guest's own addresses, routes, neighbours and listeners."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_interface
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.guest.script import Sections, ask, reads

if TYPE_CHECKING:
    from ipaddress import IPv6Interface

    from harness.guest.transport import Guest

_SOCKET = re.compile(r"^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A ")


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface and its addresses."""

    name: str
    mac: str
    state: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    @property
    def ipv4(self) -> tuple[IPv4Interface, ...]:
        """Its IPv4 addresses, with their prefix lengths."""
        return tuple(one for one in self.addresses if isinstance(one, IPv4Interface))


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table; `destination` is "default" or a prefix."""

    destination: str
    gateway: str | None
    device: str | None
    protocol: str | None


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket."""

    address: IPv4Address | IPv6Address
    port: int


@dataclass(frozen=True, slots=True)
class NetworkState:
    """A guest's network at one moment; `neighbours` maps addresses to MACs."""

    links: tuple[Link, ...]
    routes: tuple[Route, ...]
    neighbours: dict[str, str]
    listeners: tuple[Listener, ...]
    resolver: str

    @property
    def nics(self) -> tuple[Link, ...]:
        """Every interface but the loopback."""
        return tuple(link for link in self.links if link.name != "lo")

    @property
    def default_routes(self) -> tuple[Route, ...]:
        """The default routes; one is right."""
        return tuple(r for r in self.routes if r.destination == "default")

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Every IPv4 address of the NICs."""
        return tuple(one.ip for link in self.nics for one in link.ipv4)


class Network:
    """Asks a guest about its network."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def state(self) -> NetworkState:
        """Ask everything at once; one script."""
        return parse_state(ask(self._guest, "network.sh"))

    def addresses(self) -> tuple[IPv4Address, ...]:
        """List the IPv4 addresses of all interfaces but the loopback."""
        return self.state().addresses

    def routes(self) -> tuple[Route, ...]:
        """List the routes of the main table."""
        return self.state().routes

    def listening(self) -> tuple[Listener, ...]:
        """List the listening TCP sockets."""
        return self.state().listeners


@reads
def parse_state(sections: Sections) -> NetworkState:
    """Read what `network.sh` printed."""
    neighbours = _json(sections, "neighbours")
    return NetworkState(
        links=tuple(_link(one) for one in _json(sections, "addresses")),
        routes=tuple(_route(one) for one in _json(sections, "routes")),
        neighbours={n["dst"]: n["lladdr"] for n in neighbours if "lladdr" in n},
        listeners=parse_listeners(sections.text("listening")),
        resolver=sections.text("resolver"),
    )


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Read `/proc/net/tcp` and `/proc/net/tcp6`.

    Addresses there are words as the CPU has them, and the CPU is little-endian.
    """
    found = (_SOCKET.match(line) for line in text.splitlines())
    listeners = (Listener(_address(one[1]), int(one[2], 16)) for one in found if one)
    return tuple(dict.fromkeys(listeners))


def _address(words: str) -> IPv4Address | IPv6Address:
    data = bytes.fromhex(words)
    count = len(data) // 4
    network = struct.pack(f">{count}I", *struct.unpack(f"<{count}I", data))
    return IPv4Address(network) if count == 1 else IPv6Address(network)


def _link(one: dict[str, Any]) -> Link:
    addresses = (
        ip_interface(f"{info['local']}/{info['prefixlen']}")
        for info in one.get("addr_info", ())
        if "local" in info
    )
    return Link(
        one["ifname"], one.get("address", ""), one["operstate"], tuple(addresses)
    )


def _route(one: dict[str, Any]) -> Route:
    return Route(one["dst"], one.get("gateway"), one.get("dev"), one.get("protocol"))


def _json(sections: Sections, name: str) -> list[dict[str, Any]]:
    """Read what `ip -j` printed: nothing at all where there is nothing to say."""
    text = sections.value(name)
    try:
        return json.loads(text) if text else []
    except ValueError as error:
        raise MachineError(
            f"`ip -j` printed no JSON for {name}", evidence=text.splitlines()[:5]
        ) from error
