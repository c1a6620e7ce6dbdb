"""Faults of the name server, on a real dnsmasq: each really misleads who asks it."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from harness import spec
from harness.deadline import Deadline
from harness.fault import load
from harness.site import open_site

# Re-exported: whether this computer allows a site at all.
from tests.site.conftest import capable as capable  # noqa: PLC0414

FLEET = spec.load(Path(__file__).parents[2] / "fleet.toml")
NAME = "dev.cloonar.com"
FINAL, TEMPORARY = IPv4Address("10.42.97.15"), IPv4Address("10.42.97.16")


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
    """Whoever asks gets another answer than the final address alone."""
    planted = load(fault)
    fleet = planted.spec(FLEET)
    opening = Deadline.after(20, "a site")
    with open_site(fleet.network, tmp_path / "site", deadline=opening) as site:
        assert site.dns.query(NAME).addresses == (FINAL,)
        with planted.site(site):
            assert set(site.dns.query(NAME).addresses) == told
