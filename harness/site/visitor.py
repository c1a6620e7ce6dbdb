"""A visitor of the public path to lab: a browser, as far as the suites need one.

It asks the site's DNS, trusts only the site's authority, keeps cookies, and follows no
redirect: suites judge where it is sent.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from contextlib import contextmanager, suppress
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, NamedTuple

from harness.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.site.dnsmasq import Dns
    from harness.site.lan import LanHost

_PORT = 443
_ASK_BUDGET = 10.0
_BODY_MAX = 1 << 20
_EVENT = b"data: "
_TEXT_FRAME = b"\x81"
_MASKED = 0x80


class Page(NamedTuple):
    """What came back; status 0 when nothing did, with why as the body."""

    status: int
    body: str
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        """Where it sends the visitor, if anywhere."""
        return self.headers.get("location", "")


class Visitor:
    """One browser with its cookies."""

    def __init__(self, client: LanHost, dns: Dns, trusted: Path) -> None:
        self._client = client
        self._dns = dns
        self._tls = ssl.create_default_context(cafile=str(trusted))
        self.cookies: dict[str, str] = {}

    def visit(
        self,
        name: str,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        at: IPv4Address | None = None,
    ) -> Page:
        """GET a page by its public name, or POST `body` to it.

        `at` insists on an address instead of asking DNS.
        """
        try:
            with (
                self._open(name, at) as server,
                self._ask(server, path, headers or {}, body) as response,
            ):
                text = response.read(_BODY_MAX).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return Page(0, f"{type(error).__name__}: {error}", {})
        plain = {key.lower(): value for key, value in response.getheaders()}
        for cookie in response.headers.get_all("Set-Cookie", []):
            for morsel in SimpleCookie(cookie).values():
                self.cookies[morsel.key] = morsel.value
        return Page(response.status, text, plain)

    @contextmanager
    def events(self, name: str, path: str) -> Iterator[EventStream]:
        """Hold a stream of server-sent events open. Raises OSError, HTTPException."""
        with self._open(name) as server, self._ask(server, path, {}) as response:
            yield EventStream(response)

    @contextmanager
    def websocket(self, name: str, path: str) -> Iterator[WebSocket]:
        """Hold a WebSocket open. Raises OSError, HTTPException when refused."""
        wanted = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        with self._open(name) as server, self._ask(server, path, wanted) as response:
            yield WebSocket(server, response)

    @contextmanager
    def _open(
        self, name: str, at: IPv4Address | None = None
    ) -> Iterator[http.client.HTTPSConnection]:
        addresses = (at,) if at else self._dns.query(name).addresses
        if not addresses:
            raise OSError(f"DNS has no address for {name}")
        deadline = Deadline.after(_ASK_BUDGET, f"https://{name}")
        server = http.client.HTTPSConnection(name, _PORT, context=self._tls)
        try:
            raw = self._client.connect(addresses[0], _PORT, deadline=deadline)
            try:
                server.sock = self._tls.wrap_socket(raw, server_hostname=name)
            except BaseException:
                raw.close()
                raise
            yield server
        finally:
            server.close()

    def _ask(
        self,
        server: http.client.HTTPSConnection,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> http.client.HTTPResponse:
        sent = {"Connection": "close", **headers}
        if self.cookies:
            pairs = (f"{key}={value}" for key, value in self.cookies.items())
            sent["Cookie"] = "; ".join(pairs)
        server.request("POST" if body else "GET", path, body=body, headers=sent)
        return server.getresponse()


class EventStream:
    """An open stream of numbered events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status

    def read(self, count: int) -> list[int]:
        """Read the next numbers; fewer when the stream ends or stalls."""
        numbers: list[int] = []
        with suppress(OSError, http.client.HTTPException):
            while len(numbers) < count and (line := self._response.readline()):
                if line.startswith(_EVENT):
                    numbers.append(int(line.removeprefix(_EVENT)))
        return numbers


class WebSocket:
    """An open WebSocket to something that echoes."""

    def __init__(
        self, server: http.client.HTTPSConnection, response: http.client.HTTPResponse
    ) -> None:
        self._server = server
        self._response = response
        self.status = response.status

    def echo(self, text: str) -> str:
        """Send a short text and return what comes back, empty when nothing does."""
        if self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return ""
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        frame = _TEXT_FRAME + bytes([_MASKED | len(data)]) + mask + masked
        try:
            self._server.sock.sendall(frame)
            head = self._response.fp.read(2)
            return self._response.fp.read(head[1]).decode() if head else ""
        except (OSError, ValueError):
            return ""
