"""The public path to lab, as somebody outside and somebody on the LAN see it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from harness import USER, Deadline, DeadlineExpired, Endpoint, NotExercised, poll
from suites.network.observe import migration_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from harness import Door, Fleet, Page, Recorder, Site, Visitor

# Answers that keep somebody out; anything else let a request through to somewhere.
_REFUSED = (HTTPStatus.FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_OUT_OF_ORDER = range(500, 600)
_TRY_S = 2.0
_FORGED = {"Remote-User": "root", "Remote-Groups": "admins"}


@dataclass(frozen=True)
class PublicPath:
    """The way from lab's public name to lab, judged."""

    site: Site
    check: Recorder
    fleet: Fleet
    door: Door

    @property
    def name(self) -> str:
        """Lab's public name."""
        return self.door.spec.name

    def judge_refused(self, event: str, secret: str) -> None:
        """Hold the door to letting nobody in without a session.

        `secret` is a word of lab's page: wherever it shows, lab was reached.
        """
        forger = self.door.visitor()
        forger.cookies["authelia_session"] = "guessed"
        pages = {
            "a stranger": self.door.visitor().visit(self.name),
            "a forged Remote-User": self.door.visitor().visit(
                self.name, headers=_FORGED
            ),
            "a forged cookie": forger.visit(self.name),
        }
        for who, page in pages.items():
            self.check.check(
                "nobody gets in without a session",
                page.status in _REFUSED and secret not in page.body,
                f"{event}: {who} got {_seen(page)}",
            )
        page = pages["a stranger"]
        self.check.check(
            "a stranger is sent to the login page",
            page.location.startswith(f"https://{self.door.spec.portal}/"),
            f"{event}: sent to {page.location!r}; {_seen(page)}",
        )

    def signed_in(self, event: str) -> Visitor:
        """Log somebody in, with a wrong password first."""
        visitor = self.door.visitor()
        self.check.check(
            "a wrong password gives no session",
            not self.door.sign_in(visitor, password="wrong"),  # noqa: S106 - it is
            event,
        )
        given = self.door.sign_in(visitor)
        self.check.check("the right password gives a session", given, event)
        return visitor

    def judge_served(
        self, event: str, visitor: Visitor, words: Collection[str]
    ) -> None:
        """Hold the door to leading whoever has a session to lab, as it is now."""
        page = visitor.visit(self.name)
        missing = [word for word in words if word not in page.body]
        self.check.check(
            "who has a session reaches lab on the final address",
            page.status == HTTPStatus.OK and not missing,
            f"{event}: {_seen(page)}, which lacks {missing}",
        )

    def judge_identity(self, event: str, visitor: Visitor) -> None:
        """Hold the door to telling lab who came, whatever the visitor claims.

        Lab's stand-in has to name its visitor, which the real page need not.
        """
        for headers in ({}, _FORGED):
            page = visitor.visit(self.name, headers=headers)
            named = [line for line in page.body.splitlines() if line.startswith("as ")]
            self.check.check(
                "a forged Remote-User does not get through"
                if headers
                else "lab is told who came",
                named == [f"as {USER}"],
                f"{event}: lab was told {named}, expected {USER}; {_seen(page)}",
            )

    def judge_closed(self, event: str, visitor: Visitor, secret: str) -> None:
        """Hold the door to staying shut while nobody can tell who may come in."""
        for who, somebody in (
            ("a stranger", self.door.visitor()),
            ("somebody with a session", visitor),
        ):
            page = somebody.visit(self.name)
            self.check.check(
                "without the auth service nobody gets in",
                page.status in _OUT_OF_ORDER and secret not in page.body,
                f"{event}: {who} got {_seen(page)}",
            )

    def judge_certificate(self) -> None:
        """Hold the web VM to a certificate of lab's public name."""
        stranger = self.door.visitor()
        page = stranger.visit(self.name)
        self.check.check(
            "the certificate is the public name's",
            page.status != 0,
            f"{self.name}: {_seen(page)}",
        )
        other = stranger.visit("other.invalid", at=self.door.spec.ip)
        if other.status != 0:
            raise NotExercised("certificates are checked", seen=_seen(other))

    def judge_lan(
        self, event: str, words: Collection[str], seconds: float = 0.0
    ) -> None:
        """Hold the LAN's own path, by name and without a login, to leading to lab.

        `seconds` is how long it may take until it does, after a change.
        """
        name = name_of(self.fleet, migration_of(self.fleet))
        answer = self.site.dns.query(name)
        self.check.require("the LAN path has a name", answer.addresses, f"{answer}")
        address, port = answer.addresses[0], self.fleet.lab.port

        def look() -> tuple[bool, str]:
            # A try is short: a connection to a MAC that has gone would sit it out.
            brief = Deadline.after(_TRY_S, f"http://{name}:{port}")
            page = self.site.client.http(address, port, deadline=brief)
            missing = [word for word in words if word not in page.body]
            served = page.status == HTTPStatus.OK and not missing
            return served, f"HTTP {page.status} {page.body[:200]!r}, lacks {missing}"

        served, seen = _within(seconds, look)
        self.check.check(
            "the LAN path reaches lab by name",
            served,
            f"{event}: http://{name}:{port} ({address}) gave {seen}",
        )

    def judge_return(self, event: str, visitor: Visitor, seconds: float) -> None:
        """Hold lab to being back behind the door within its budget."""

        def look() -> tuple[bool, str]:
            page = visitor.visit(self.name)
            return page.status == HTTPStatus.OK, _seen(page)

        back, seen = _within(seconds, look)
        self.check.check(
            "lab is back behind the door within its budget",
            back,
            f"{event}: after {seconds} s {self.name} still gave {seen}",
        )


@contextmanager
def public_path(site: Site, check: Recorder, fleet: Fleet) -> Iterator[PublicPath]:
    """Have the web VM in front of the final address, as the plan leaves it.

    Raises NotExercised where the spec has no web VM.
    """
    if fleet.ingress is None:
        raise NotExercised("the spec has an [ingress]")
    upstream = Endpoint(migration_of(fleet).final, fleet.lab.port)
    with site.ingress(fleet.ingress, upstream) as door:
        yield PublicPath(site, check, fleet, door)


@contextmanager
def stand_in(site: Site, fleet: Fleet, name: str) -> Iterator[str]:
    """Have a service of the site in lab's place; yield a word of its page."""
    with ExitStack() as stack:
        host = stack.enter_context(site.lan_host(name, migration_of(fleet).final))
        stack.enter_context(site.serve(host, fleet.lab.port))
        yield f"{name}: reached"


def _seen(page: Page) -> str:
    return f"HTTP {page.status} {page.body[:200]!r}"


def _within(seconds: float, look: Callable[[], tuple[bool, str]]) -> tuple[bool, str]:
    """Look until it is right, or the time is up; return the last look."""
    seen = [look()]

    def again() -> bool | None:
        if not seen[-1][0]:
            seen.append(look())
        return seen[-1][0] or None

    with suppress(DeadlineExpired):
        poll(again, Deadline.after(seconds, "what is looked for"))
    return seen[-1]
