"""The name server: a real dnsmasq, asked for real."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.errors import InputError, ProcessFailed
from harness.process import alive
from harness.site import NO_ANSWER, Answer

if TYPE_CHECKING:
    from harness.site import Site

NAME = "dev.example.org"
DEV, TEMPORARY = IPv4Address("10.42.97.15"), IPv4Address("10.42.97.16")


def test_a_name_of_the_spec_has_its_address(site: Site) -> None:
    """An A record has TTL 0: no resolver may cache it."""
    assert site.dns.query(NAME) == Answer((DEV,), "NOERROR", 0)


def test_every_host_on_the_lan_may_ask(site: Site) -> None:
    """A service host and the gateway get the same answer as the client."""
    askers = [site.services["forgejo-mcp"], site.gateway, site.client]
    answers = {site.dns.query(NAME, from_host=host) for host in askers}
    assert answers == {Answer((DEV,), "NOERROR", 0)}


def test_nothing_exists_beyond_the_site(site: Site) -> None:
    """An unknown name is NXDOMAIN, an IPv6 address of a known one an empty answer."""
    assert site.dns.query("example.net") == Answer((), "NXDOMAIN", None)
    assert site.dns.query(NAME, "AAAA") == Answer((), "NOERROR", None)


def test_a_change_counts_at_once(site: Site) -> None:
    """Set, add a second address, remove: each is what is answered next."""
    name = "swap.example.org"
    site.dns.set(name, TEMPORARY)
    assert site.dns.query(name).addresses == (TEMPORARY,)
    site.dns.set(name, DEV, TEMPORARY)
    assert set(site.dns.query(name).addresses) == {DEV, TEMPORARY}
    site.dns.remove(name)
    assert site.dns.query(name).rcode == "NXDOMAIN"
    assert name not in site.dns.records


def test_a_change_without_a_restart_is_not_seen(site: Site) -> None:
    """As with the real one: the new record is written, the old one answers."""
    name = "late.example.org"
    site.dns.set(name, DEV)
    site.dns.set(name, TEMPORARY, restart=False)
    assert site.dns.records[name] == (TEMPORARY,)
    assert site.dns.query(name).addresses == (DEV,)
    site.dns.restart()
    assert site.dns.query(name).addresses == (TEMPORARY,)


def test_a_restart_is_a_new_process_and_the_old_one_is_gone(site: Site) -> None:
    """The PID is dnsmasq's own, as this computer counts."""
    before = site.dns.pid
    site.dns.restart()
    assert site.dns.pid != before
    assert not alive(before)


def test_options_reach_the_real_dnsmasq(site: Site) -> None:
    """A fault can give records a life time."""
    site.dns.options.append("local-ttl=3600")
    try:
        site.dns.restart()
        assert site.dns.query(NAME).ttl == 3600
    finally:
        site.dns.options.clear()
        site.dns.restart()


def test_a_dead_name_server_is_no_answer_and_no_pid(site: Site) -> None:
    """Silence differs from NXDOMAIN; asking for the PID reports the end."""
    site.dns.kill()
    with pytest.raises(ProcessFailed, match="dnsmasq is not running"):
        _ = site.dns.pid
    brief = Deadline.after(0.2, "no answer")
    assert site.dns.query(NAME, deadline=brief).rcode == NO_ANSWER
    site.dns.restart()
    assert site.dns.query(NAME).addresses == (DEV,)


def test_a_bad_option_shows_dnsmasqs_own_words(site: Site) -> None:
    """It does not start, and the error carries what it said."""
    site.dns.options.append("no-such-option")
    try:
        with pytest.raises(ProcessFailed, match=r"bad option"):
            site.dns.restart()
    finally:
        site.dns.options.clear()
        site.dns.restart()


def test_every_question_is_in_its_log(site: Site) -> None:
    """The log is kept in the site's directory."""
    site.dns.query("trace.example.org")
    assert f"query[A] trace.example.org from {site.client.ip}" in (
        site.dns.log.read_text()
    )


@pytest.mark.parametrize("name", ["", "a,10.0.0.1", "a\nb"])
def test_no_name_breaks_out_of_the_configuration(site: Site, name: str) -> None:
    """A comma or a line break in a name is refused."""
    with pytest.raises(InputError):
        site.dns.set(name, DEV)
