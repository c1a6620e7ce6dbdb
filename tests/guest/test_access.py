"""Logins of a person: a password, a key, and the addresses that ssh may reach."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest.access import addresses, let_in, set_password

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guest.conftest import LocalGuest

FIRST = IPv4Address("10.42.97.16")


def listed(*ips: str) -> list[dict[str, object]]:
    """Answer as qemu-ga does; an interface without a cable has no addresses."""
    entries = [
        {"ip-address": ip, "ip-address-type": "ipv6" if ":" in ip else "ipv4"}
        for ip in ips
    ]
    return [{"name": "ens2"}, {"name": "ens3", "ip-addresses": entries}]


def test_a_password_is_set_from_a_pipe(guest: LocalGuest, tmp_path: Path) -> None:
    """It is in no argument list, which every user of a guest can read."""
    seen = tmp_path / "seen"
    guest.program("chpasswd", f'{{ cat; printf %s "$*"; }} >{seen}')
    set_password(guest, "secret")
    assert seen.read_text() == "root:secret\n"


def test_a_guest_that_takes_no_password_says_why(guest: LocalGuest) -> None:
    """As where the root file system is read-only."""
    guest.program("chpasswd", "echo 'cannot lock /etc/passwd' >&2; exit 5")
    with pytest.raises(MachineError, match="cannot lock /etc/passwd"):
        set_password(guest, "secret")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: its home is the key's place")
def test_a_key_is_let_in_once(guest: LocalGuest, tmp_path: Path) -> None:
    """Other keys stay; a second login adds nothing; the guest's own key is returned."""
    guest.program("cat", "echo ssh-ed25519 HOST")
    file = tmp_path / "home/.ssh/authorized_keys"
    file.parent.mkdir()
    file.write_text("ssh-ed25519 OTHER\n")
    assert let_in(guest, "ssh-ed25519 MINE") == "ssh-ed25519 HOST"
    assert let_in(guest, "ssh-ed25519 MINE") == "ssh-ed25519 HOST"
    assert file.read_text() == "ssh-ed25519 OTHER\nssh-ed25519 MINE\n"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: its home is the key's place")
def test_a_guest_without_sshd_says_so(guest: LocalGuest) -> None:
    """It has no host key."""
    guest.program("cat", "exit 1")
    with pytest.raises(MachineError, match="does sshd run"):
        let_in(guest, "ssh-ed25519 MINE")


def test_the_known_address_is_tried_first() -> None:
    """The guest's own are tried, wherever a swap has moved it."""
    found = addresses(
        listed("127.0.0.1", "10.42.97.15", "10.42.97.16", "fe80::1"), FIRST
    )
    assert found == [FIRST, IPv4Address("10.42.97.15")]
    moved = addresses(listed("127.0.0.1", "169.254.0.9", "10.42.97.15"), FIRST)
    assert moved == [IPv4Address("10.42.97.15")]
    assert addresses(listed(), None) == []
