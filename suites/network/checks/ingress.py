"""What decides that the public way to lab authenticates, and then leads to lab."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from harness import (
    USER,
    Check,
    HttpAnswer,
    Page,
    Quantity,
    absent,
    at_most,
    differs_from,
    one_of,
    present,
    starts_with,
)
from suites.network.checks.address import excerpt

# Anything else let a request through to somewhere.
_REFUSED = (HTTPStatus.FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
OPENED = "before"  # what a WebSocket has to echo first
RELOADS = ("first", "second")  # and after each reload
_AS = "as "  # begins the line in which lab's stand-in shows Remote-User


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """How a login at the portal ended: whether it gave a session, and the cookies."""

    accepted: bool
    cookies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """When lab was served again, in `seconds` to the last failure; the last page."""

    seconds: float
    page: Page | HttpAnswer


@dataclass(frozen=True, slots=True)
class Streams:
    """What an event stream and a WebSocket brought over reloads of nginx.

    `events` are all numbers read; `opened` and `echoes` are what the WebSocket sent
    back, at once and after each reload. `problem` is the error that ended it, if any.
    """

    events: Sequence[int]
    websocket_status: int | None
    opened: str | None
    echoes: Mapping[str, str]
    problem: str


def refused(pages: Mapping[str, Page], secret: str, during: str) -> Iterator[Check]:
    """Check that the web VM serves nothing without a session.

    `pages` are the responses by how the request tried; `secret` is a word of lab's
    page: where it shows, lab was reached.
    """
    for request, page in pages.items():
        yield Check(
            "a request without a session is refused",
            page.status,
            one_of(*_REFUSED),
            of="HTTP status",
            during=during,
            request=request,
            **excerpt(page, when=page.status not in _REFUSED),
        )
        yield _hidden(
            "a response without a session shows nothing of lab",
            page,
            secret,
            during=during,
            request=request,
        )


def sent_to_login(page: Page, portal: str, during: str) -> Check:
    """Check that a refusal leads to the login page."""
    return Check(
        "a request without a session is redirected to the login page",
        page.location,
        starts_with(f"https://{portal}/"),
        of="Location header",
        during=during,
    )


def _hidden(
    name: str, page: Page | HttpAnswer, secret: str, *, during: str = "", **facts: str
) -> Check:
    """Check that a response does not show lab's word."""
    return Check(
        name,
        [secret] if secret in page.body else [],
        absent(),
        of="words of lab's page",
        during=during,
        **facts,
    )


def signs_in(wrong: LoginAttempt, right: LoginAttempt, during: str) -> Iterator[Check]:
    """Check that the portal accepts the right password only."""
    for name, attempt, accepted in (
        ("a wrong password gives no session", wrong, False),
        ("the right password gives a session", right, True),
    ):
        yield Check(
            name,
            "accepted" if attempt.accepted else "refused",
            "accepted" if accepted else "refused",
            of="login",
            during=during,
            cookies=attempt.cookies,
        )


def serves_signed_in(
    page: Page, words: Collection[str], during: str
) -> Iterator[Check]:
    """Check that a client with a session gets lab's current page."""
    yield Check(
        "a signed-in client reaches lab on the final address",
        page.status,
        HTTPStatus.OK,
        of="HTTP status",
        during=during,
        **excerpt(page, when=page.status != HTTPStatus.OK),
    )
    yield _shows("a signed-in client gets lab's page", page, words, during)


def _shows(
    name: str, page: Page | HttpAnswer, words: Collection[str], during: str
) -> Check:
    shown = {word for word in words if word in page.body}
    return Check(
        name,
        shown,
        set(words),
        of="words of lab's page",
        during=during,
        **excerpt(page, when=shown != set(words)),
    )


def identifies(plain: Page, forged: Page, during: str) -> Iterator[Check]:
    """Check that lab receives the user of the session, not a header of the request.

    `forged` answers a request with a Remote-User header of its own. Lab's stand-in
    shows the header that reaches it, which the real page need not.
    """
    for name, page in (
        ("lab receives the signed-in user as Remote-User", plain),
        ("a forged Remote-User header does not reach lab", forged),
    ):
        lines = page.body.splitlines()
        users = [line.removeprefix(_AS) for line in lines if line.startswith(_AS)]
        yield Check(
            name,
            users,
            [USER],
            of="Remote-User",
            during=during,
            **excerpt(page, when=users != [USER]),
        )


def fails_closed(
    pages: Mapping[str, Page], secret: str, during: str
) -> Iterator[Check]:
    """Check that the web VM serves nothing while it cannot authenticate."""
    for request, page in pages.items():
        yield Check(
            "without the authentication service every request fails",
            f"{page.status // 100}xx",
            "5xx",
            of="class of HTTP status",
            during=during,
            request=request,
            status=page.status,
            **excerpt(page, when=page.status < HTTPStatus.INTERNAL_SERVER_ERROR),
        )
        yield _hidden(
            "without the authentication service no response shows anything of lab",
            page,
            secret,
            during=during,
            request=request,
        )


def certified(page: Page, name: str) -> Check:
    """Check that TLS to lab's public name succeeds: its certificate is valid."""
    return Check(
        "the certificate is valid for the public name",
        page.status,
        differs_from(0),
        of="HTTP status",
        during=f"request to https://{name}",
        **excerpt(page, when=page.status == 0),
    )


def redirects_plain_http(answer: HttpAnswer, secret: str) -> Iterator[Check]:
    """Check that port 80 answers by a redirect, and shows nothing of lab."""
    yield Check(
        "plain HTTP is answered by a redirect",
        answer.status,
        HTTPStatus.MOVED_PERMANENTLY,
        of="HTTP status",
        during="request to port 80",
        **excerpt(answer, when=answer.status != HTTPStatus.MOVED_PERMANENTLY),
    )
    name = "plain HTTP shows nothing of lab"
    yield _hidden(name, answer, secret, during="request to port 80")


def serves_lan(
    recovery: Recovery, words: Collection[str], limit: float | None, during: str
) -> Iterator[Check]:
    """Check that lab's name on the LAN leads to lab, without a login.

    `limit` is how long it may take after a change, in seconds.
    """
    if limit is not None:
        yield Check(
            "lab is reachable on the LAN again within budget",
            Quantity(recovery.seconds, "s"),
            at_most(limit),
            of="time to recovery",
            during=during,
        )
    page = recovery.page
    yield Check(
        "lab is reachable by its name on the LAN",
        page.status,
        HTTPStatus.OK,
        of="HTTP status",
        during=during,
        **excerpt(page, when=page.status != HTTPStatus.OK),
    )
    yield _shows("the LAN name leads to lab's page", page, words, during)


def has_lan_address(name: str, addresses: Sequence[object], rcode: str) -> Check:
    """Check that DNS knows lab's name on the LAN."""
    return Check(
        "DNS has an address for lab's name on the LAN",
        addresses,
        present(),
        of=f"addresses of {name}",
        response_code=rcode,
    )


def returns(recovery: Recovery, limit: float, during: str) -> Check:
    """Check that the web VM serves lab again within a budget."""
    page = recovery.page
    return Check(
        "lab is back behind the web VM within budget",
        Quantity(recovery.seconds, "s"),
        at_most(limit),
        of="time to recovery",
        during=during,
        last_status=page.status,
        **excerpt(page, when=page.status != HTTPStatus.OK),
    )


def opens_stream(status: int, events: Sequence[int]) -> Check:
    """Check that the web VM passes an event stream on."""
    return Check(
        "an event stream opens through the web VM",
        events,
        present(),
        of="events",
        http_status=status,
    )


def opens_websocket(
    echo: str | None, sent: str, status: int | None, problem: str = ""
) -> Check:
    """Check that the web VM passes a WebSocket on."""
    return Check(
        "a WebSocket opens through the web VM",
        echo,
        sent,
        of="echo",
        http_status=status,
        error=problem or None,
    )


def survives_reloads(streams: Streams, expected: Sequence[int]) -> Iterator[Check]:
    """Check that nginx serves open connections to their end over its reloads."""
    opened = None if streams.problem else streams.opened
    yield opens_websocket(opened, OPENED, streams.websocket_status, streams.problem)
    for reload in RELOADS:
        yield Check(
            "a WebSocket stays open over a reload",
            streams.echoes.get(reload),
            reload,
            of="echo",
            during=f"{reload} reload of nginx",
        )
    yield Check(
        "an event stream goes on over a reload",
        streams.events,
        expected,
        of="events",
        during="two reloads of nginx",
    )


def reports_absence(page: Page) -> Check:
    """Check that the web VM reports that lab is down."""
    return Check(
        "the web VM answers with a gateway error while lab is down",
        page.status,
        one_of(HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT),
        of="HTTP status",
        during="lab is stopped",
        response=page.body[:200],
    )


def reopens_stream(
    status: int, events: Sequence[int], expected: Sequence[int]
) -> Check:
    """Check that a stream opens after lab's restart, which cut the old ones."""
    return Check(
        "an event stream can be opened again after lab's restart",
        events,
        expected,
        of="events",
        http_status=status,
    )


def stays_idle(echo: str, sent: str, seconds: float) -> Check:
    """Check that a WebSocket stays open on which nothing is sent."""
    return Check(
        "an idle WebSocket stays open",
        echo,
        sent,
        of="echo",
        during=f"after {seconds:.0f} s without traffic",
    )
