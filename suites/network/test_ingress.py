"""`ingress-auth`: the public way to lab asks who comes, and then leads to lab.

Lab itself is behind the door where the page's content counts. Where headers and open
streams count, a service of the site is, which shows them: lab need not.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING

import pytest

from harness import (
    TALKER,
    Deadline,
    DeadlineExpired,
    NotExercised,
    address_changed,
    poll,
)
from suites.network.door import public_path, stand_in
from suites.network.observe import migration_of

if TYPE_CHECKING:
    from harness import Budgets, Fleet, Machine, Recorder, Site, Visitor
    from suites.network.door import PublicPath

pytestmark = [pytest.mark.criterion("ingress-auth"), pytest.mark.disruptive]

# Longer than nginx waits for an upstream's next word when it is not told otherwise.
_IDLE_S = 65
_READ = 3  # events, a tenth of a second apart


@pytest.mark.scenario("portal")
def test_only_the_portal_says_who_comes(
    site: Site, check: Recorder, fleet: Fleet
) -> None:
    """No session, no lab; and who came is what the portal says, never the visitor."""
    with stand_in(site, fleet, "lab") as secret, public_path(site, check, fleet) as way:
        way.judge_certificate()
        for event in ("first", "after the auth service was away"):
            way.judge_refused(event, secret)
            visitor = way.signed_in(event)
            way.judge_served(event, visitor, [secret])
            way.judge_identity(event, visitor)
            with way.door.without_auth():
                way.judge_closed(event, visitor, secret)
        plain = site.client.http(way.door.spec.ip, 80)
        check.check(
            "plain HTTP leads nowhere but to TLS",
            plain.status == HTTPStatus.MOVED_PERMANENTLY and secret not in plain.body,
            f"port 80 gave HTTP {plain.status}: {plain.body[:200]!r}",
        )


@pytest.mark.scenario("reload")
def test_streams_outlive_reloads(site: Site, check: Recorder, fleet: Fleet) -> None:
    """A reload of nginx cuts no open stream; a restart of lab does, for a moment."""
    port = fleet.lab.port
    with (
        site.lan_host("lab", migration_of(fleet).final) as host,
        public_path(site, check, fleet) as way,
    ):
        with site.serve(host, port):
            visitor = way.signed_in("before")
            _judge_streams(way, visitor)
            with visitor.events(way.name, "/events") as cut:
                check.require("a stream is open", cut.read(1), f"HTTP {cut.status}")
        gone = visitor.visit(way.name)
        check.check(
            "while lab is away the web VM says so",
            gone.status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT},
            f"HTTP {gone.status}: {gone.body[:200]!r}",
        )
        with (
            site.serve(host, port),
            visitor.events(way.name, "/events") as again,
        ):
            check.check(
                "a stream that lab's restart cut can be opened again",
                again.read(_READ) == list(range(1, _READ + 1)),
                f"HTTP {again.status}",
            )


@pytest.mark.thorough
@pytest.mark.scenario("idle-stream")
def test_an_idle_stream_stays_open(site: Site, check: Recorder, fleet: Fleet) -> None:
    """A terminal in which nothing happens is not closed by nginx's own patience."""
    with (
        stand_in(site, fleet, "lab"),
        public_path(site, check, fleet) as way,
        way.signed_in("before").websocket(way.name, "/echo") as websocket,
    ):
        check.require(
            "a WebSocket comes about through the web VM",
            websocket.echo("before") == "before",
            f"HTTP {websocket.status}",
        )
        with suppress(DeadlineExpired):
            poll(lambda: None, Deadline.after(_IDLE_S, "nothing at all"), interval=5)
        check.check(
            "an idle WebSocket stays open",
            websocket.echo("after") == "after",
            f"no echo after {_IDLE_S} s without a word",
        )


@pytest.mark.stage("swapped")
@pytest.mark.scenario("after-the-swap")
def test_swapped_lab_is_behind_the_door(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """The real lab, over both paths, before and after it was restarted."""
    before = dev.lab.state()
    with public_path(site, check, fleet) as way:
        way.judge_refused("swapped", TALKER)
        visitor = way.signed_in("swapped")
        way.judge_served("swapped", visitor, before.sessions)
        way.judge_lan("swapped", before.sessions)
        dev.succeed("systemctl", "restart", fleet.lab.unit)
        way.judge_return("restart of lab", visitor, budgets.switch_lab_outage_s)
        after = dev.lab.state()
        if after.invocation_id == before.invocation_id:
            raise NotExercised("lab was restarted")
        way.judge_served("restart of lab", visitor, before.sessions)
        way.judge_refused("restart of lab", TALKER)


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("during-the-swap")
def test_the_door_does_not_move_with_the_address(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Refused before, during and after the swap; who is logged in stays so."""
    move = migration_of(fleet)
    with public_path(site, check, fleet) as way:
        with stand_in(site, fleet, "old") as secret:
            way.judge_refused("before the swap", secret)
            visitor = way.signed_in("before the swap")
            way.judge_served("before the swap", visitor, [secret])
            way.judge_lan("before the swap", [secret])
        way.judge_refused("while nobody has the address", TALKER)
        switched = address_changed(dev, move.temporary, move.final, verb="switch")
        check.check("the switch succeeds", switched.succeeded, switched.output[-1500:])
        # Web VM and client have the old MAC in mind; the budget is for that, too.
        way.judge_return("swap", visitor, budgets.swap_outage_s)
        way.judge_refused("after the swap", TALKER)
        sessions = dev.lab.state().sessions
        way.judge_served("after the swap", visitor, sessions)
        way.judge_lan("after the swap", sessions, budgets.neighbour_convergence_s)


def _judge_streams(way: PublicPath, visitor: Visitor) -> None:
    """Hold nginx to finishing what is open, over two reloads."""
    with visitor.events(way.name, "/events") as events:
        check, seen = way.check, events.read(_READ)
        check.require("a stream is open", seen, f"HTTP {events.status}")
        try:
            with visitor.websocket(way.name, "/echo") as websocket:
                way.check.check(
                    "a WebSocket comes about through the web VM",
                    websocket.echo("before") == "before",
                    f"HTTP {websocket.status}",
                )
                for number in ("first", "second"):
                    _reload(way, number)
                    seen += events.read(_READ)
                    check.check(
                        "a WebSocket goes on over a reload",
                        websocket.echo(number) == number,
                        f"{number} reload: no echo",
                    )
        except (OSError, HTTPException) as error:
            check.check("a WebSocket comes about through the web VM", False, error)
        check.check(
            "a stream goes on over a reload",
            seen == list(range(1, 3 * _READ + 1)),
            f"events read: {seen}",
        )


def _reload(way: PublicPath, number: str) -> None:
    """Reload nginx, and prove it by a worker that was not there."""
    before = way.door.workers()
    way.door.reload()
    if not way.door.workers() - before:
        raise NotExercised(f"the {number} reload started a new worker")
