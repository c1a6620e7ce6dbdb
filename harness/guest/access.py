"""Logins to a throwaway guest: by a password, and by a key for ssh."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.guest.script import ask
from harness.guest.transport import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.guest.transport import Guest

_CHPASSWD = ("/bin/sh", "-c", f"PATH={ENVIRONMENT['PATH']}; chpasswd")


def set_password(guest: Guest, password: str, *, timeout: float = 60.0) -> None:
    """Give root a password; it is in no argument list. Raises MachineError."""
    line = f"root:{password}\n".encode()
    done = guest.execute(*_CHPASSWD, stdin=line, timeout=timeout)
    if done.rc != 0:
        raise MachineError(
            "the guest takes no password for root",
            seen=" ".join(done.output.split()) or f"exit status {done.rc}",
        )


def let_in(guest: Guest, key: str) -> str:
    """Let root log in with a public key; return the guest's own. MachineError."""
    return ask(guest, "let_in.sh", key).value("host-key")


def addresses(
    interfaces: Sequence[dict[str, Any]], first: IPv4Address | None
) -> list[IPv4Address]:
    """Return the addresses that ssh may reach, of the agent's list of interfaces.

    `first` is tried before the others where the guest has it: most have no other.
    """
    found = [
        IPv4Address(entry["ip-address"])
        for interface in interfaces
        for entry in interface.get("ip-addresses", ())
        if entry["ip-address-type"] == "ipv4"
    ]
    reachable = [ip for ip in found if not ip.is_loopback and not ip.is_link_local]
    return sorted(reachable, key=lambda ip: ip != first)
