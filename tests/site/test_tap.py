"""Taps: made, cleared of leftovers, always removed, and really on the LAN."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from harness.errors import HostError
from harness.process import PIPE
from harness.site.site import TUN
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.deadline import Deadline
    from harness.site import Site

pytestmark = pytest.mark.skipif(
    not os.access(TUN, os.R_OK | os.W_OK), reason=f"{TUN} is closed to this user"
)

ASK_THROUGH_TAP = """
import fcntl, os, select, struct, sys
name, client, ours = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", name.encode(), 0x0002 | 0x1000))
mac = bytes.fromhex("525400970016")
head = b"\\xff" * 6 + mac + bytes.fromhex("0806" "0001080006040001")
while True:
    # The bridge takes frames some milliseconds after the tap was opened: ask again.
    os.write(tun, head + mac + ours + bytes(6) + client)
    while select.select([tun], [], [], 0.05)[0]:
        frame = os.read(tun, 2048)
        if frame[:6] == mac and frame[20:22] == b"\\x00\\x02":
            print(frame[22:28].hex(":"))
            sys.exit()
"""


def soon() -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(10, "the test")


def test_a_tap_is_on_the_bridge_for_the_with(site: Site) -> None:
    """Two machines have two, each gone with its own `with`."""
    with site.tap("dev") as dev:
        with site.tap("openclaw") as openclaw:
            assert site.taps() == sorted([dev, openclaw])
            assert {dev, openclaw} <= set(site.ports())
        assert site.taps() == [dev]
    assert site.taps() == []


def test_a_leftover_is_removed_first(site: Site) -> None:
    """One that a crash left, off the bridge, is replaced by one on it."""
    with site.tap("dev") as name:
        pass
    left = ["ip", "tuntap", "add", "dev", name, "mode", "tap"]
    site.execute(left, deadline=soon()).check()
    assert name not in site.ports()
    with site.tap("dev"):
        assert name in site.ports()
    assert site.taps() == []


def test_a_tap_goes_when_the_body_raises(site: Site) -> None:
    """And when someone removed it already."""
    with pytest.raises(ZeroDivisionError), site.tap("dev"):
        _ = 1 / 0
    with site.tap("dev") as name:
        site.execute(["ip", "link", "delete", name], deadline=soon()).check()
    assert site.taps() == []


def test_the_longest_name_is_one_the_kernel_takes(site: Site) -> None:
    """What the plan allows, the kernel does too."""
    with site.tap("m" * 11) as name:
        assert len(name) == 15
        assert site.taps() == [name]


def test_a_machine_on_a_tap_is_on_the_lan(site: Site) -> None:
    """A frame written where QEMU would write it is answered by the client."""
    with site.tap("dev") as name:
        addresses = [site.client.ip.packed.hex(), "0a2a6110"]
        program = [sys.executable, "-I", "-S", "-c", ASK_THROUGH_TAP, name, *addresses]
        with site.sandbox.spawn(program, stdout=PIPE) as asking:
            assert asking.outer.stdout is not None
            answered = asking.outer.stdout.readline().decode().strip()
    assert answered == site.client.mac


def test_the_other_machines_tap_is_left_alone(site: Site) -> None:
    """Making and removing one changes neither index nor master of the other."""

    def identity() -> str:
        shown = ["ip", "-brief", "link", "show", "type", "tun"]
        index = ["sh", "-c", "ip -o link show type tun | cut -d: -f1,2"]
        listed = site.execute(shown, deadline=soon()).check().stdout
        return listed + site.execute(index, deadline=soon()).check().stdout

    with site.tap("openclaw"):
        before = identity()
        for _ in range(3):
            with site.tap("dev"):
                pass
        assert identity() == before


def test_no_tun_is_this_computers_lack(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what is missing and how to mend it."""
    monkeypatch.setattr("harness.site.site.TUN", TUN.with_name("none"))
    with pytest.raises(HostError, match=r"modprobe tun"), site.tap("dev"):
        pass
