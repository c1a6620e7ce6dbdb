"""Hosts on the LAN: what they reach, and what they remember of each other."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.fleet import Endpoint
from harness.site import open_site
from harness.site.lan import Neighbour, parse_neighbours
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.fleet import NetworkSpec
    from harness.site import Site

DEV = IPv4Address("10.42.97.15")
OLD_MAC = "52:54:00:97:00:15"


def soon(awaited: str = "the test") -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(10, awaited)


def test_a_service_answers_on_its_address_and_port(site: Site) -> None:
    """The client reaches forgejo-mcp, which saw the client's own address."""
    answer = site.client.http(IPv4Address("10.42.97.5"), 8090)
    assert answer == (200, f"forgejo-mcp: reached from {site.client.ip}\n")


def test_a_service_on_the_gateways_own_address(
    tmp_path: Path, network: NetworkSpec, capable: None
) -> None:
    """Then the gateway itself serves it, without a station of its own."""
    _ = capable
    services = {"own": Endpoint(network.gateway, 8091)}
    on_gateway = network.model_copy(update={"services": services})
    with open_site(on_gateway, tmp_path / "s", deadline=soon()) as site:
        assert site.services["own"] is site.gateway
        assert site.client.http(site.gateway.ip, 8091).status == 200


def test_no_server_is_status_zero(site: Site) -> None:
    """What cannot be reached has status 0 and says why."""
    status, body = site.client.http(site.gateway.ip, 9)
    assert (status, body) == (
        0,
        "ConnectionRefusedError: [Errno 111] Connection refused",
    )


def test_tcp_tells_open_from_closed(site: Site) -> None:
    """A full connection, or none."""
    service = site.services["forgejo-mcp"].ip
    assert site.client.tcp(service, 8090, soon())
    assert not site.client.tcp(service, 8091, soon())


def test_commands_run_on_the_host_they_were_given_to(site: Site) -> None:
    """Each host shows its own address; the gateway is the default."""
    shown = ["ip", "-brief", "-4", "address", "show", "scope", "global"]
    assert "10.42.97.1/24" in site.execute(shown, deadline=soon()).stdout
    assert f"{site.client.ip}/24" in site.client.execute(shown, deadline=soon()).stdout


def test_each_host_has_an_arp_cache_of_its_own(site: Site) -> None:
    """What the client learns, the service does not know."""
    with site.lan_host("dev", DEV, OLD_MAC), site.lan_host("bystander", DEV + 1) as by:
        site.client.tcp(DEV, 22, soon())
        assert site.client.neighbours()[str(DEV)] == Neighbour(OLD_MAC, "REACHABLE")
        assert str(DEV) not in by.neighbours()


def test_everyone_who_claims_an_address_is_found(site: Site) -> None:
    """Two hosts on one address give two MACs, none gives none."""
    assert site.client.arping(DEV) == set()
    with site.lan_host("old", DEV, OLD_MAC), site.lan_host("impostor", DEV) as twin:
        assert site.gateway.arping(DEV) == {OLD_MAC, twin.mac}


def test_asking_who_has_an_address_changes_nobodys_mind(site: Site) -> None:
    """No cache on the LAN learns of the client or of the address by it."""
    with site.lan_host("old", DEV, OLD_MAC) as old:
        site.client.forget_neighbour(DEV)
        assert site.client.arping(DEV) == {OLD_MAC}
        assert str(DEV) not in site.client.neighbours()
        assert str(site.client.ip) not in old.neighbours()


def test_a_pinned_neighbour_is_believed_over_the_truth(site: Site) -> None:
    """A client that holds on to a wrong MAC cannot reach the address."""
    with site.lan_host("dev", DEV, OLD_MAC):
        site.client.pin_neighbour(DEV, "52:54:00:00:00:99")
        assert not site.client.tcp(DEV, 22, Deadline.after(0.3, "a lost SYN"))
        site.client.forget_neighbour(DEV)
        site.client.http(DEV, 22)
        assert site.client.neighbours()[str(DEV)].mac == OLD_MAC


def test_a_host_goes_with_its_with(site: Site) -> None:
    """Its link is off the bridge even when the body raised."""
    before = site.ports()

    def body() -> None:
        with site.lan_host("brief", DEV):
            assert len(site.ports()) == len(before) + 1
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        body()
    assert site.ports() == before


def test_an_unknown_host_has_no_sockets(site: Site) -> None:
    """Asking for one is our error, and the sandbox lives on."""
    with pytest.raises(HarnessError, match="no socket on nobody"):
        site.sandbox.open_socket(1, host="nobody", family=2)
    assert site.client.tcp(site.gateway.ip, 53, soon())


def test_the_state_of_an_unanswered_neighbour() -> None:
    """An entry without an answer has no MAC."""
    listed = '[{"dst":"10.0.0.9","state":["FAILED"]}]'
    assert parse_neighbours(listed) == {"10.0.0.9": Neighbour("", "FAILED")}
    assert parse_neighbours("") == {}
