"""The network view: what `ip -j` and the kernel's tables say."""

from __future__ import annotations

import json
import shutil
import socket
from ipaddress import IPv4Address, IPv4Interface, ip_address
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest import network
from harness.guest.network import Network, Route
from harness.guest.script import parse

if TYPE_CHECKING:
    from tests.guest.conftest import LocalGuest

LINKS = [
    {"ifname": "lo", "address": "00:00:00:00:00:00", "operstate": "UNKNOWN"}
    | {"addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "ens3", "address": "52:54:00:97:00:16", "operstate": "UP"}
    | {
        "addr_info": [
            {"family": "inet", "local": "10.42.97.16", "prefixlen": 24},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
        ]
    },
]
ROUTES = [
    {"dst": "default", "gateway": "10.42.97.1", "dev": "ens3", "protocol": "static"},
    {"dst": "10.42.97.0/24", "dev": "ens3", "protocol": "kernel"},
]
NEIGHBOURS = [
    {"dst": "10.42.97.1", "dev": "ens3", "lladdr": "52:54:00:97:00:01"},
    {"dst": "10.42.97.9", "dev": "ens3", "state": ["FAILED"]},
]


def recorded(neighbours: str) -> network.NetworkState:
    """Read a recorded answer."""
    text = (
        f"\x1eaddresses\n{json.dumps(LINKS)}\n\x1eroutes\n{json.dumps(ROUTES)}\n"
        f"\x1eneighbours\n{neighbours}\n\x1elistening\n\x1eresolver\nx\n\x1eend\n"
    )
    return network.parse_state(parse("network.sh", text))


def test_a_recorded_network_is_read_whole() -> None:
    """The loopback is no NIC; a neighbour that does not answer has no MAC."""
    state = recorded(json.dumps(NEIGHBOURS))
    assert [nic.name for nic in state.nics] == ["ens3"]
    assert state.nics[0].ipv4 == (IPv4Interface("10.42.97.16/24"),)
    assert state.addresses == (IPv4Address("10.42.97.16"),)
    assert state.default_routes == (Route("default", "10.42.97.1", "ens3", "static"),)
    assert state.neighbours == {"10.42.97.1": "52:54:00:97:00:01"}


def test_no_neighbours_is_an_empty_answer() -> None:
    """`ip -j` prints nothing, or an empty list, where there is nothing."""
    assert recorded("").neighbours == recorded("[]").neighbours == {}
    with pytest.raises(MachineError, match="no JSON for neighbours"):
        recorded("Object \"neighbour\" is unknown, try 'ip help'.")


@pytest.mark.skipif(not shutil.which("ip"), reason="ip is not installed")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_listener_of_this_computer_is_seen(guest: LocalGuest, address: str) -> None:
    """Addresses of both families are read from the kernel's tables as they are."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip(f"{address} is not configured here")
        listener.listen()
        port = listener.getsockname()[1]
        seen = Network(guest).listening()
    assert network.Listener(ip_address(address), port) in seen
