"""Plans and scripts: what is decided before anything acts."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.fleet import Endpoint, NetworkSpec
from harness.site import layout, tap_name


def at(last: int) -> IPv4Address:
    """Build an address of the LAN."""
    return IPv4Address("10.42.97.0") + last


def test_every_host_of_the_network_gets_a_station() -> None:
    """Client, services and the eye are planned; the gateway is the bridge itself."""
    network = NetworkSpec(
        client=at(100),
        services={"forge": Endpoint(at(5), 80), "self": Endpoint(at(1), 81)},
    )
    planned = layout.plan(network)
    assert {s.name: s.ip for s in planned.stations} == {
        "client": at(100),
        "forge": at(5),
        "eye": None,
    }
    assert planned.gateway_mac == "02:00:0a:2a:61:01"


def test_the_eye_stays_clear_of_every_address_spoken_for() -> None:
    """Client, DNS names, services and machines come first."""
    network = NetworkSpec(
        client=at(254),
        hosts={"a.example.org": at(253)},
        services={"forge": Endpoint(at(252), 80)},
    )
    assert layout.plan(network, reserved=[at(251)]).eye_ip == at(250)


def test_the_eye_asks_with_macs_that_no_host_has() -> None:
    """Its 64 variants differ from a host's in the second byte."""
    eye = layout.plan(NetworkSpec()).stations[-1]
    assert eye.mac.startswith("02:01:")
    assert layout.mac_of(at(254)).startswith("02:00:")


def test_a_full_subnet_is_the_users_mistake() -> None:
    """No room for the eye is an InputError that names the subnet."""
    network = NetworkSpec(
        subnet=IPv4Network("10.0.0.0/28"), gateway=IPv4Address("10.0.0.1")
    )
    everyone = list(network.subnet.hosts())
    with pytest.raises(InputError, match=r"10\.0\.0\.0/28"):
        layout.plan(network, reserved=everyone)


def test_two_hosts_of_one_name_are_refused() -> None:
    """A service called client would share a namespace with the client."""
    network = NetworkSpec(services={"client": Endpoint(at(5), 80)})
    with pytest.raises(InputError, match="client"):
        layout.plan(network)


def test_tap_names_end_where_the_kernel_says() -> None:
    """Fifteen bytes fit, sixteen are refused by us with the name and the limit."""
    longest = tap_name("m" * 11)
    assert len(longest) == 15
    with pytest.raises(InputError, match="at most 11 bytes"):
        tap_name("m" * 12)


@pytest.mark.parametrize("name", ["", "a b", "x;reboot", "-f", "a\nb", "$(x)", "../x"])
def test_no_name_breaks_out_of_a_script(name: str) -> None:
    """What goes into a script is checked first."""
    with pytest.raises(InputError):
        layout.check_name(name)


def test_a_directory_name_stays_one_word() -> None:
    """Quotes and blanks in the site's directory are quoted."""
    directory = Path("/tmp/it's a site")  # noqa: S108 - a name, never opened
    script = layout.capsule_script(layout.plan(NetworkSpec()), directory)
    assert r"exec 9<'/tmp/it'\''s a site'" in script
