"""The web VM: a login before lab, certificates that are checked, streams that stay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.errors import HostError, ProcessFailed
from harness.fleet import Endpoint, Ingress
from harness.host import nginx
from harness.site import USER, RunningIngress, Setup, open_site
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.fleet import NetworkSpec
    from harness.site import Site

LAB = Endpoint(IPv4Address("10.42.97.15"), 8080)
SPEC = Ingress(
    name="lab.example.org",
    ip=IPv4Address("10.42.97.6"),
    portal="auth.example.org",
    auth=Endpoint(IPv4Address("10.42.97.7"), 9091),
)


@pytest.fixture(scope="session", autouse=True)
def nginx_is_there() -> None:
    """Skip where `.ci/packages` has not run yet."""
    try:
        nginx()
    except HostError as missing:
        pytest.skip(missing.summary)


@pytest.fixture(scope="module")
def ingress(site: Site) -> Iterator[RunningIngress]:
    """Hold a small web server on lab's address, and the ingress in front of it."""
    with (
        site.lan_host("lab", LAB.ip) as host,
        site.serve(host, LAB.port),
        site.ingress(SPEC, LAB) as ingress,
    ):
        yield ingress


def test_a_request_without_a_session_is_sent_to_the_portal(
    ingress: RunningIngress,
) -> None:
    """With the page that was asked for, and without a word of lab's."""
    page = ingress.visitor().visit(SPEC.name, "/page?x=1")
    assert page.status == 302
    rd = "https%3A%2F%2Flab.example.org%2Fpage%3Fx%3D1"
    assert page.location == f"https://{SPEC.portal}/?rd={rd}"
    assert "lab: reached" not in page.body


def test_a_signed_in_client_reaches_lab_by_name(ingress: RunningIngress) -> None:
    """The cookie of the domain opens the way; the upstream sees the web VM and who."""
    visitor = ingress.visitor()
    assert not ingress.sign_in(visitor, password="guessed")  # noqa: S106 - wrong
    assert ingress.sign_in(visitor)
    page = visitor.visit(SPEC.name, headers={"Remote-User": "root"})
    assert page.status == 200
    assert page.body == f"lab: reached from {SPEC.ip}\nas {USER}\n"


def test_certificates_are_checked(ingress: RunningIngress) -> None:
    """By name: the right address under another name is refused by the visitor."""
    page = ingress.visitor().visit("www.example.org", at=SPEC.ip)
    assert page.status == 0
    assert "CertificateVerification" in page.body or "Hostname" in page.body


def test_keys_are_closed_to_others(ingress: RunningIngress) -> None:
    """And lie in a directory that is, too."""
    directory = ingress.certificate.parent
    assert directory.stat().st_mode & 0o777 == 0o700
    keys = sorted(directory.glob("*.key"))
    assert [key.name for key in keys] == ["authority.key", "web.key"]
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_every_request_fails_while_the_auth_service_is_away(
    ingress: RunningIngress,
) -> None:
    """Not even with a session; afterwards a new login works."""
    visitor = ingress.visitor()
    assert ingress.sign_in(visitor)
    with ingress.without_auth():
        assert visitor.visit(SPEC.name).status == 500
    assert visitor.visit(SPEC.name).status == 302
    assert ingress.sign_in(visitor)
    assert visitor.visit(SPEC.name).status == 200


def test_streams_outlive_reloads(ingress: RunningIngress) -> None:
    """The worker that has them finishes; new requests are the new worker's."""
    visitor = ingress.visitor()
    assert ingress.sign_in(visitor)
    with (
        visitor.events(SPEC.name, "/events") as events,
        visitor.websocket(SPEC.name, "/echo") as websocket,
    ):
        assert (events.status, websocket.status) == (200, 101)
        assert events.read(2) == [1, 2]
        first = ingress.workers()
        ingress.reload()
        assert first < ingress.workers()
        assert events.read(2) == [3, 4]
        assert websocket.echo("still here") == "still here"
        assert visitor.visit(SPEC.name).status == 200


def test_no_stream_opens_without_a_session(ingress: RunningIngress) -> None:
    """A WebSocket is asked for its session as any request is."""
    with ingress.visitor().websocket(SPEC.name, "/echo") as websocket:
        assert websocket.status == 302
        assert websocket.echo("hello") == ""


def test_a_broken_configuration_says_so(
    tmp_path: Path, network: NetworkSpec, capable: None
) -> None:
    """With nginx's own words."""
    _ = capable

    def inject_once(setup: Setup) -> Setup:
        return replace(setup, text=f"{setup.text}nonsense;\n")

    deadline = patient(20, "a site")
    with open_site(network, tmp_path / "s", deadline=deadline) as site:
        site.web_changes.append(inject_once)
        with (
            pytest.raises(ProcessFailed, match=r'did not start[\s\S]*"nonsense"'),
            site.ingress(SPEC, LAB),
        ):
            pass
