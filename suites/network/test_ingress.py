"""`ingress-auth`: the public way to lab authenticates, and then leads to lab.

The real lab is behind the web VM where its page counts. Where headers and open streams
count, a service of the site is, which shows them: lab need not.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from http.client import HTTPException

import pytest

from harness import (
    TALKER,
    Budgets,
    Check,
    Deadline,
    DeadlineExpired,
    EventStream,
    Fleet,
    Machine,
    NotExercised,
    Recorder,
    Site,
    Visitor,
    address_changed,
    poll,
)
from suites.network.checks import address, ingress
from suites.network.checks.ingress import OPENED, RELOADS, Streams
from suites.network.migration import migration_of
from suites.network.public_path import PublicPath, public_path, stand_in

pytestmark = [pytest.mark.criterion("ingress-auth"), pytest.mark.disruptive]

# Longer than nginx's default wait for an upstream's next byte.
_IDLE_S = 65
_READ = 3  # events, a tenth of a second apart


@pytest.mark.scenario("portal")
def test_only_the_portal_authenticates(
    site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Lab is served to sessions only, and Remote-User is the session's."""
    with stand_in(site, fleet, "lab") as secret, public_path(site, fleet) as way:
        check(ingress.certified(way.certificate(), way.name))
        away = "the authentication service was away"
        for event in (f"before {away}", f"after {away}"):
            check(_refusals(way, secret, event))
            visitor = _sign_in(way, check, event)
            page = way.signed_in(visitor)
            check(ingress.serves_signed_in(page, [secret], event))
            check(ingress.identifies(page, way.forging(visitor), event))
            check(ingress.fails_closed(way.without_auth(visitor), secret, event))
        plain = site.client.http(way.ingress.spec.ip, 80)
        check(ingress.redirects_plain_http(plain, secret))


@pytest.mark.scenario("reload")
def test_streams_outlive_reloads(site: Site, check: Recorder, fleet: Fleet) -> None:
    """A reload of nginx cuts no open stream; a restart of lab does, for a moment."""
    port = fleet.lab.port
    with (
        site.lan_host("lab", migration_of(fleet).final) as host,
        public_path(site, fleet) as way,
    ):
        with site.serve(host, port):
            visitor = _sign_in(way, check, "before the reloads")
            with visitor.events(way.name, "/events") as events:
                first = events.read(_READ)
                check.require(ingress.opens_stream(events.status, first))
                streams = _over_reloads(way, visitor, events, first)
            expected = range(1, 3 * _READ + 1)
            check(ingress.survives_reloads(streams, expected))
            with visitor.events(way.name, "/events") as cut:
                check.require(ingress.opens_stream(cut.status, cut.read(1)))
        check(ingress.reports_absence(visitor.visit(way.name)))
        with (
            site.serve(host, port),
            visitor.events(way.name, "/events") as again,
        ):
            read, expected = again.read(_READ), range(1, _READ + 1)
            check(ingress.reopens_stream(again.status, read, expected))


@pytest.mark.thorough
@pytest.mark.scenario("idle-stream")
def test_an_idle_stream_stays_open(site: Site, check: Recorder, fleet: Fleet) -> None:
    """A terminal in which nothing happens is not closed by a timeout of nginx."""
    with (
        stand_in(site, fleet, "lab"),
        public_path(site, fleet) as way,
        _sign_in(way, check, "at first").websocket(way.name, "/echo") as websocket,
    ):
        echo = websocket.echo(OPENED)
        check.require(ingress.opens_websocket(echo, OPENED, websocket.status))
        with suppress(DeadlineExpired):
            poll(lambda: None, Deadline.after(_IDLE_S, "nothing at all"), interval=5)
        check(ingress.stays_idle(websocket.echo("after"), "after", _IDLE_S))


@pytest.mark.stage("swapped")
@pytest.mark.scenario("after-the-swap")
def test_lab_is_behind_the_web_vm_after_the_swap(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """The real lab, by both ways, before and after a restart of it."""
    before = dev.lab.state()
    sessions = before.sessions
    with public_path(site, fleet) as way:
        swapped, restarted = "after the swap", "after a restart of lab"
        check(_refusals(way, TALKER, swapped))
        visitor = _sign_in(way, check, swapped)
        check(ingress.serves_signed_in(way.signed_in(visitor), sessions, swapped))
        _judge_lan(check, way, sessions, None, swapped)
        dev.succeed("systemctl", "restart", fleet.lab.unit)
        limit = budgets.switch_lab_outage_s
        check(ingress.returns(way.recovery(visitor, limit), limit, restarted))
        _must_have_restarted(before.invocation_id, dev.lab.state().invocation_id)
        check(ingress.serves_signed_in(way.signed_in(visitor), sessions, restarted))
        check(_refusals(way, TALKER, restarted))


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("during-the-swap")
def test_the_web_vm_follows_the_swap(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Refused before, during and after the swap; a session outlives it."""
    move = migration_of(fleet)
    before, after = "before the swap", "after the swap"
    with public_path(site, fleet) as way:
        with stand_in(site, fleet, "old") as secret:
            check(_refusals(way, secret, before))
            visitor = _sign_in(way, check, before)
            check(ingress.serves_signed_in(way.signed_in(visitor), [secret], before))
            _judge_lan(check, way, [secret], None, before)
        check(_refusals(way, TALKER, "while no machine has the address"))
        switched = address_changed(dev, move.temporary, move.final, verb="switch")
        check(address.switched(switched.rc, switched.output))
        # Web VM and client still know the old MAC; the budget is for that, too.
        limit = budgets.swap_outage_s
        check(ingress.returns(way.recovery(visitor, limit), limit, after))
        check(_refusals(way, TALKER, after))
        sessions = dev.lab.state().sessions
        check(ingress.serves_signed_in(way.signed_in(visitor), sessions, after))
        _judge_lan(check, way, sessions, budgets.neighbour_convergence_s, after)


def _refusals(way: PublicPath, secret: str, during: str) -> Iterator[Check]:
    """Ask without a session, in every way that a client could try."""
    pages = way.unauthenticated()
    yield from ingress.refused(pages, secret, during)
    yield ingress.sent_to_login(pages["plain"], way.ingress.spec.portal, during)


def _sign_in(way: PublicPath, check: Recorder, during: str) -> Visitor:
    """Log a client in, with a wrong password first."""
    visitor, wrong, right = way.sign_in()
    check(ingress.signs_in(wrong, right, during))
    return visitor


def _judge_lan(
    check: Recorder,
    way: PublicPath,
    words: Collection[str],
    limit: float | None,
    during: str,
) -> None:
    """Ask for lab by its name on the LAN."""
    answer = way.lan_answer()
    addresses = answer.addresses
    check.require(ingress.has_lan_address(way.lan_name, addresses, answer.rcode))
    recovery = way.lan(addresses[0], words, limit)
    check(ingress.serves_lan(recovery, words, limit, during))


def _over_reloads(
    way: PublicPath, visitor: Visitor, events: EventStream, first: list[int]
) -> Streams:
    """Reload nginx twice under an open event stream and an open WebSocket."""
    read, echoes = [*first], dict[str, str]()
    status, opened, problem = None, None, ""
    try:
        with visitor.websocket(way.name, "/echo") as websocket:
            status, opened = websocket.status, websocket.echo(OPENED)
            for reload in RELOADS:
                _reload(way, reload)
                read += events.read(_READ)
                echoes[reload] = websocket.echo(reload)
    except (OSError, HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    return Streams(read, status, opened, echoes, problem)


def _reload(way: PublicPath, number: str) -> None:
    """Reload nginx, and prove it by a worker that was not there."""
    before = way.ingress.workers()
    way.ingress.reload()
    if not (after := way.ingress.workers()) - before:
        raise NotExercised(
            f"the {number} reload to start a new worker",
            seen=f"the workers' PIDs are still {', '.join(map(str, sorted(after)))}",
        )


def _must_have_restarted(before: str, after: str) -> None:
    """Raise NotExercised where lab's unit runs on as before."""
    if after == before:
        raise NotExercised(
            "lab to restart", seen=f"its invocation ID is still {before}"
        )
