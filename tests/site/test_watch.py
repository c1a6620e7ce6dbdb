"""Watchers against stand-ins for machines whose breaks are known."""

from __future__ import annotations

import itertools
import os
import signal
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import HarnessError, SiteDied
from harness.process import kill
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.site import LanHost, Site

DEV = IPv4Address("10.42.97.15")
OLD_MAC, NEW_MAC = "52:54:00:97:00:15", "52:54:00:97:00:16"
NAME = "dev.example.org"


def soon(awaited: str = "the test") -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(10, awaited)


def link(host: LanHost, state: str) -> None:
    """Pull a host's cable or plug it in."""
    host.execute(["ip", "link", "set", "eth0", state], deadline=soon()).check()


@pytest.fixture(autouse=True)
def ignorant_client(site: Site) -> None:
    """Let the client know nothing of earlier tests' stand-ins."""
    site.client.forget_neighbour(DEV)


def test_a_healthy_address_answers_every_question(site: Site) -> None:
    """All kinds are sampled every 50 ms; closed ports differ from open ones."""
    with (
        site.lan_host("dev", DEV, OLD_MAC) as dev,
        site.serve(dev, 8080),
        site.watch_address(DEV) as watch,
    ):
        for _ in range(8):
            watch.wait_for("ping", ok=True, deadline=soon())
        assert dev.neighbours()[str(site.client.ip)].mac == site.client.mac
    assert watch.longest_outage("ping") == 0
    assert watch.longest_outage("tcp:8080") == 0
    assert watch.owners()[0][1] == {OLD_MAC}
    assert {s.detail for s in watch.of_kind("tcp:22")} == {"refused"}
    kinds = {sample.kind for sample in watch.samples}
    counts = {len(watch.of_kind(kind)) for kind in kinds}
    assert kinds == {"ping", "arp", "tcp:22", "tcp:8080"}
    assert max(counts) == min(counts) >= 8


def test_a_break_is_measured(site: Site) -> None:
    """A cable pulled for a known time is an outage of that time, of every kind."""
    with (
        site.lan_host("dev", DEV, OLD_MAC) as dev,
        site.serve(dev, 8080),
        site.watch_address(DEV, tcp=[8080]) as watch,
    ):
        watch.wait_for("tcp:8080", ok=True, deadline=soon())
        began = time.monotonic()
        link(dev, "down")
        watch.wait_for("ping", ok=False, deadline=soon())
        link(dev, "up")
        broken = time.monotonic() - began
        for kind in ("ping", "arp", "tcp:8080"):
            watch.wait_for(kind, ok=True, deadline=soon())
    for kind in ("ping", "arp", "tcp:8080"):
        assert len(watch.outages(kind)) == 1, kind
        assert watch.longest_outage(kind) == pytest.approx(broken, abs=0.25), kind
    watch.require_steady()


def test_a_hung_address_does_not_stretch_the_period(site: Site) -> None:
    """Questions to a host that swallows everything go out on every beat."""
    with site.lan_host("dev", DEV, OLD_MAC) as dev:
        site.client.pin_neighbour(DEV, NEW_MAC)
        try:
            with site.watch_address(dev.ip, tcp=[22]) as watch:
                watch.wait_for("tcp:22", ok=False, deadline=soon())
        finally:
            site.client.forget_neighbour(DEV)
    silent = watch.of_kind("tcp:22")
    assert {sample.detail for sample in silent} == {"no answer"}
    gaps = [b.at - a.at for a, b in itertools.pairwise(silent)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.05, abs=0.02)
    assert watch.longest_outage("arp") == 0


def test_two_owners_are_seen_together_and_apart(site: Site) -> None:
    """The answering MACs are known over time, those of an impostor included."""
    with site.watch_address(DEV, tcp=[]) as watch:
        with site.lan_host("old", DEV, OLD_MAC):
            watch.wait_for("arp", ok=True, deadline=soon())
            with site.lan_host("impostor", DEV, NEW_MAC):
                watch.wait_for("ping", ok=True, deadline=soon())
            watch.wait_for("arp", ok=True, deadline=soon())
        watch.wait_for("arp", ok=False, deadline=soon())
    owners = [macs for _, macs in watch.owners()]
    expected = [set(), {OLD_MAC}, {OLD_MAC, NEW_MAC}, {OLD_MAC}, set()]
    assert owners == expected


def test_an_announcement_is_heard(site: Site) -> None:
    """A gratuitous ARP of a new owner is a sample of its own, with its MAC."""
    with site.lan_host("dev", DEV, NEW_MAC) as dev, site.watch_address(DEV) as watch:
        watch.wait_for("ping", ok=True, deadline=soon())
        dev.announce()
        watch.wait_for("ping", ok=True, deadline=soon())
    assert {sample.macs for sample in watch.announcements()} == {(NEW_MAC,)}


def test_watching_refreshes_no_cache_by_arp(site: Site) -> None:
    """A client that believes a wrong MAC goes on to while ARP shows the right one."""
    with site.lan_host("dev", DEV, OLD_MAC):
        words = ["lladdr", NEW_MAC, "nud", "stale", "dev", "eth0"]
        believe = ["ip", "neighbour", "replace", str(DEV), *words]
        site.client.execute(believe, deadline=soon()).check()
        with site.watch_address(DEV, tcp=[]) as watch:
            # The kernel locks an entry for a second; within the next ones it would
            # take over what an answer to the client said.
            for _ in range(2):
                watch.wait_for("arp", ok=True, deadline=soon())
            assert site.client.neighbours()[str(DEV)].mac == NEW_MAC
        site.client.forget_neighbour(DEV)
    assert watch.longest_outage("arp") == 0
    assert watch.longest_outage("ping") > 0


def test_a_stalled_watcher_admits_its_blindness(site: Site) -> None:
    """Stopped for a while, its gap shows and it is not fit to judge by."""
    with site.lan_host("dev", DEV), site.watch_address(DEV, tcp=[]) as watch:
        watch.wait_for("ping", ok=True, deadline=soon())
        os.kill(watch.resident.pid, signal.SIGSTOP)
        with pytest.raises(HarnessError):
            watch.wait_for("ping", ok=True, deadline=Deadline.after(0.6, "a beat"))
        assert watch.longest_gap > 0.5
        # nsenter stops with what it waits for, and wakes it when woken.
        os.kill(watch.resident.outer.pid, signal.SIGCONT)
        watch.wait_for("ping", ok=True, deadline=soon())
    assert watch.longest_gap > 0.5
    with pytest.raises(HarnessError, match="was blind for"):
        watch.require_steady(0.5)


def test_a_dead_watcher_is_an_error_of_ours(site: Site) -> None:
    """The `with` raises, although the body was content."""
    with (
        pytest.raises(SiteDied, match=r"watcher of 10.42.97.15 was ended by SIGKILL"),
        site.watch_address(DEV, tcp=[]) as watch,
    ):
        kill(watch.resident.pid)


def test_a_dead_watcher_does_not_hide_the_bodys_own_error(site: Site) -> None:
    """What the test was about comes out first."""

    def body() -> None:
        with site.watch_address(DEV, tcp=[]) as watch:
            kill(watch.resident.pid)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        body()


def test_what_a_dead_watcher_saw_is_no_failure(site: Site) -> None:
    """An assertion about it says nothing about the guest."""

    def body() -> None:
        with site.watch_address(DEV, tcp=[]) as watch:
            kill(watch.resident.pid)
            poll(lambda: None if watch.resident.running else True, soon())
            raise AssertionError("it saw an outage")

    with pytest.raises(SiteDied):
        body()


def test_dns_answers_are_watched(site: Site) -> None:
    """Every answer is right, none is missing, and each has its figures."""
    with site.watch_dns(NAME) as watch:
        watch.wait_for_samples(6, deadline=soon())
    assert watch.wrong(DEV) == []
    assert watch.longest_outage() == 0
    sample = watch.samples[0]
    assert (sample.rcode, sample.ttl, sample.addresses) == ("NOERROR", 0, (DEV,))
    assert sample.latency is not None


def test_a_wrong_answer_is_seen_while_it_lasts(site: Site) -> None:
    """A record changed and changed back leaves wrong samples in between."""
    temporary = IPv4Address("10.42.97.16")
    with site.watch_dns(NAME) as watch:
        watch.wait_for_samples(2, deadline=soon())
        site.dns.set(NAME, temporary)
        watch.wait_for_samples(4, deadline=soon())
        site.dns.set(NAME, DEV)
        watch.wait_for_samples(4, deadline=soon())
    answered = [s.addresses for s in watch.samples if s.ok]
    assert {(DEV,), (temporary,)} == set(answered)
    assert watch.wrong(DEV)
    assert answered[0] == answered[-1] == (DEV,)


def test_a_dead_name_server_is_an_outage(site: Site) -> None:
    """Refusals count as no answer until it is back."""
    with site.watch_dns(NAME) as watch:
        watch.wait_for_samples(2, deadline=soon())
        site.dns.kill()
        watch.wait_for_samples(6, deadline=soon())
        site.dns.restart()
        watch.wait_for_samples(3, deadline=soon())
    assert watch.longest_outage() > 0.1
    assert watch.samples[-1].ok
    assert "ConnectionRefusedError" in {sample.rcode for sample in watch.samples}
    watch.require_steady()
