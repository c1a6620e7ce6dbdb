"""Faults of the name server, on a real dnsmasq: each really misleads who asks it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from harness.fault import load
from harness.fleet import load_fleet
from harness.site import open_site

# Re-exported: whether this computer allows a site at all.
from tests.site.conftest import capable as capable  # noqa: PLC0414
from tests.waiting import patient

FLEET = load_fleet(Path(__file__).parents[2] / "fleet.toml")
OLD_IPV6 = IPv6Address("2001:db8:97::15")
NAME = "dev.cloonar.com"
FINAL, TEMPORARY = IPv4Address("10.42.97.15"), IPv4Address("10.42.97.16")


@pytest.mark.usefixtures("capable")
def test_the_name_has_another_protocol(tmp_path: Path) -> None:
    """The right address, and one in IPv6 that a client would try first."""
    planted = load("dns-ipv6-from-upstream")
    fleet = planted.alter_spec(FLEET)
    opening = patient(20, "a site")
    with open_site(fleet.network, tmp_path / "site", deadline=opening) as site:
        assert site.dns.query(NAME, "AAAA").ipv6 == ()
        with planted.alter_network(site):
            assert site.dns.query(NAME).addresses == (FINAL,)
            assert site.dns.query(NAME, "AAAA").ipv6 == (OLD_IPV6,)


@pytest.mark.usefixtures("capable")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("dns-still-temporary", {TEMPORARY}),
        ("dns-round-robin", {FINAL, TEMPORARY}),
        ("lease-named-dev", {TEMPORARY}),
        ("dnsmasq-negative-cache", set[IPv4Address]()),
    ],
)
def test_the_name_misleads(tmp_path: Path, fault: str, told: set[IPv4Address]) -> None:
    """A query gets another answer than only the final address."""
    planted = load(fault)
    fleet = planted.alter_spec(FLEET)
    opening = patient(20, "a site")
    with open_site(fleet.network, tmp_path / "site", deadline=opening) as site:
        assert site.dns.query(NAME).addresses == (FINAL,)
        with planted.alter_network(site):
            assert set(site.dns.query(NAME).addresses) == told
