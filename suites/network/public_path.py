"""Use the public way to lab as clients from outside do, and the LAN's own."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address

from harness import (
    Answer,
    Deadline,
    Endpoint,
    Fleet,
    HttpAnswer,
    NotExercised,
    Page,
    RunningIngress,
    Site,
    Visitor,
)
from suites.network.checks.ingress import LoginAttempt, Recovery
from suites.network.migration import migration_of, name_of
from suites.network.recovery import time_to

_TRY_S = 2.0
_FORGED = {"Remote-User": "root", "Remote-Groups": "admins"}


@dataclass(frozen=True)
class PublicPath:
    """The way from lab's public name through the web VM to lab, and the LAN's own."""

    site: Site
    fleet: Fleet
    ingress: RunningIngress

    @property
    def name(self) -> str:
        """Lab's public name."""
        return self.ingress.spec.name

    @property
    def lan_name(self) -> str:
        """Lab's name on the LAN."""
        return name_of(self.fleet, migration_of(self.fleet))

    def unauthenticated(self) -> dict[str, Page]:
        """Ask for lab without a session; responses by how the request tries."""
        guessing = self.ingress.visitor()
        guessing.cookies["authelia_session"] = "guessed"
        new = self.ingress.visitor
        return {
            "plain": new().visit(self.name),
            "with a forged Remote-User header": new().visit(self.name, headers=_FORGED),
            "with a forged session cookie": guessing.visit(self.name),
        }

    def sign_in(self) -> tuple[Visitor, LoginAttempt, LoginAttempt]:
        """Log a new client in: with a wrong password first, then with the right one."""
        visitor = self.ingress.visitor()
        accepted = self.ingress.sign_in(visitor, password="wrong")  # noqa: S106 - it is
        wrong = LoginAttempt(accepted, tuple(visitor.cookies))
        accepted = self.ingress.sign_in(visitor)
        return visitor, wrong, LoginAttempt(accepted, tuple(visitor.cookies))

    def signed_in(self, visitor: Visitor) -> Page:
        """Ask for lab with a session."""
        return visitor.visit(self.name)

    def forging(self, visitor: Visitor) -> Page:
        """Ask for lab with a session and a Remote-User header of its own."""
        return visitor.visit(self.name, headers=_FORGED)

    def without_auth(self, visitor: Visitor) -> dict[str, Page]:
        """Ask for lab while the authentication service is away, in two ways."""
        with self.ingress.without_auth():
            return {
                "without a session": self.ingress.visitor().visit(self.name),
                "with a session": visitor.visit(self.name),
            }

    def certificate(self) -> Page:
        """Ask by the public name. Raises NotExercised where any certificate will do."""
        visitor = self.ingress.visitor()
        other = visitor.visit("other.invalid", at=self.ingress.spec.ip)
        if other.status != 0:
            raise NotExercised(
                "the client to refuse a certificate of another name",
                seen=f"it got HTTP status {other.status}",
            )
        return visitor.visit(self.name)

    def lan_answer(self) -> Answer:
        """Ask DNS for lab's name on the LAN."""
        return self.site.dns.query(self.lan_name)

    def lan(
        self, address: IPv4Address, words: Collection[str], seconds: float | None
    ) -> Recovery:
        """Ask for lab on the LAN, for `seconds` until all words are on its page."""

        def look() -> tuple[bool, HttpAnswer]:
            # A try is short: a connection to a MAC that has gone would sit it out.
            brief = Deadline.after(_TRY_S, f"http://{self.lan_name}")
            port = self.fleet.lab.port
            page = self.site.client.http(address, port, deadline=brief)
            shown = all(word in page.body for word in words)
            return page.status == HTTPStatus.OK and shown, page

        return Recovery(*time_to(look, seconds or 0.0, "lab on the LAN"))

    def recovery(self, visitor: Visitor, seconds: float) -> Recovery:
        """Ask for lab with a session, for `seconds` until it is served."""

        def look() -> tuple[bool, Page]:
            page = visitor.visit(self.name)
            return page.status == HTTPStatus.OK, page

        return Recovery(*time_to(look, seconds, "lab behind the web VM"))


@contextmanager
def public_path(site: Site, fleet: Fleet) -> Iterator[PublicPath]:
    """Run the web VM in front of the final address, as the plan leaves it.

    Raises NotExercised where the spec has no web VM.
    """
    if fleet.ingress is None:
        raise NotExercised("the spec to have an [ingress]", seen="it has none")
    upstream = Endpoint(migration_of(fleet).final, fleet.lab.port)
    with site.ingress(fleet.ingress, upstream) as ingress:
        yield PublicPath(site, fleet, ingress)


@contextmanager
def stand_in(site: Site, fleet: Fleet, name: str) -> Iterator[str]:
    """Run a service of the site in lab's place; yield a word of its page."""
    with ExitStack() as stack:
        host = stack.enter_context(site.lan_host(name, migration_of(fleet).final))
        stack.enter_context(site.serve(host, fleet.lab.port))
        yield f"{name}: reached"
