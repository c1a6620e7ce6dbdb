"""Nothing leaves the site, and nothing of it can be reached from outside."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.site import LanHost, Site

OUTSIDE = "192.0.2.1"
"""Documentation's address: it is looked up in routing tables, never sent to."""


LAN = IPv4Address("10.42.97.0").packed[:3]
"""Ours carry their IPv4 address in their MAC."""


def soon() -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(10, "the test")


def hosts(site: Site) -> list[LanHost]:
    """List everyone on the LAN."""
    return [site.gateway, site.client, *site.services.values()]


def test_no_host_knows_a_way_out(site: Site) -> None:
    """The kernel of every namespace finds no route to a public address."""
    for host in hosts(site):
        asked = host.execute(["ip", "route", "get", OUTSIDE], deadline=soon())
        assert asked.rc != 0, host.name
        assert "unreachable" in asked.stderr
        kept = host.execute(["ip", "route", "show"], deadline=soon()).check().stdout
        assert all("10.42.97.0/24" in route for route in kept.splitlines())
        assert kept, host.name


def test_the_gateway_forwards_nothing(site: Site) -> None:
    """Even where the computer it runs on does."""
    for host in hosts(site):
        path = "/proc/sys/net/ipv4/ip_forward"
        assert host.execute(["cat", path], deadline=soon()).stdout == "0\n"


def test_the_only_links_are_the_sites_own(site: Site) -> None:
    """Loopback, the bridge and its ports: no uplink."""
    shown = site.execute(["ip", "-brief", "link"], deadline=soon()).check().stdout
    names = {line.split()[0].partition("@")[0] for line in shown.splitlines()}
    assert names == {"lo", "br-lan", *site.ports()}


def test_no_process_of_the_site_is_on_this_computers_network(site: Site) -> None:
    """All of them live in other network namespaces than we do."""
    ours = namespace(os.getpid())
    inside = site.sandbox.processes()
    assert len(inside) >= 3
    assert all(namespace(pid) != ours for pid in inside)


def test_nothing_of_ours_listens_on_this_computer(site: Site) -> None:
    """No listening socket in our network namespace belongs to the site or to us."""
    listening = listening_inodes()
    for pid in [os.getpid(), *site.sandbox.processes()]:
        assert not sockets_of(pid) & listening, pid


def test_no_packet_of_the_site_is_on_this_computers_links(site: Site) -> None:
    """A capture of all links hears nothing from the site's addresses."""
    try:
        every = socket.ntohs(0x0003)
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every)
    except PermissionError:
        pytest.skip("capturing on this computer's links takes root")
    with tap:
        site.client.http(IPv4Address("10.42.97.5"), 8090)
        site.client.arping(IPv4Address("10.42.97.77"), window=0.05)
        assert not [frame for frame in drain(tap) if is_ours(frame)]


def test_this_computer_gains_no_link(site: Site) -> None:
    """None of the site's names is among its interfaces' addresses."""
    own = {name for _, name in socket.if_nameindex()}
    assert not own & set(site.ports())


def namespace(pid: int) -> str:
    """Name the network namespace of a process."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def listening_inodes() -> set[str]:
    """Read the inodes of every listening or bound socket of this computer."""
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with suppress(FileNotFoundError):
            rows = Path(f"/proc/self/net/{kind}").read_text(encoding="ascii")
            columns = (row.split() for row in rows.splitlines()[1:])
            found |= {row[9] for row in columns if row[3] in {"0A", "07"}}
    return found


def sockets_of(pid: int) -> set[str]:
    """Read the inodes of the sockets that a process holds."""
    found = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def drain(tap: socket.socket) -> list[bytes]:
    """Take what a capture has heard, awaiting a little for what is on its way."""
    frames: list[bytes] = []
    tap.setblocking(False)

    def listen() -> None:
        with suppress(BlockingIOError):
            while True:
                frames.append(tap.recv(2048))

    with suppress(DeadlineExpired):
        poll(listen, Deadline.after(0.2, "frames"), interval=0.02)
    return frames


def is_ours(frame: bytes) -> bool:
    """Whether a frame was sent by one of the site's own hosts."""
    sender = frame[6:12]
    return sender[:2] in {b"\x02\x00", b"\x02\x01"} and sender[2:5] == LAN
