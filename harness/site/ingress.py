"""The web VM: a real nginx that asks for a login before it leads to lab.

    visitor ── TLS ──▶ web VM: nginx ── Remote-User ──▶ upstream
                                └─ auth_request ──▶ auth service

Both are hosts of their own on the LAN; the auth service stands in for Authelia. What a
visitor from outside sees, the client sees here: the public name leads to the web VM,
whose certificate a site-local authority has signed.
"""

from __future__ import annotations

import json
import secrets
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from harness import host as computer
from harness.deadline import Deadline, poll
from harness.errors import ProcessFailed
from harness.process import PIPE
from harness.site import serving
from harness.site.authority import found_authority
from harness.site.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address

    from harness.fleet import Endpoint, Ingress
    from harness.site.dnsmasq import Dns
    from harness.site.lan import LanHost
    from harness.site.sandbox import Resident

    Change = Callable[["Setup"], "Setup"]

USER = "alice"
"""The only user of the authentication service."""

PORT = 443
WEB, AUTH = "web", "auth"
_DIRECTORY = "web.d"  # no machine can have this name
_START_BUDGET = 10.0
_RELOAD_BUDGET = 20.0

# Authelia's own integration guide for nginx, in one file. `user root`: a rootless
# sandbox has no other user that nginx could become.
_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
events {{
    worker_connections 64;
}}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    ssl_certificate {directory}/web.pem;
    ssl_certificate_key {directory}/web.key;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' close;
    }}
    server {{
        listen {ip}:80;
        return 301 https://$host$request_uri;
    }}
    server {{
        listen {ip}:443 ssl default_server;
        return 444;
    }}
    server {{
        listen {ip}:443 ssl;
        server_name {portal};
        location / {{
            proxy_pass http://{auth};
        }}
    }}
    server {{
        listen {ip}:443 ssl;
        server_name {name};
        location = /internal/authz {{
            internal;
            proxy_pass http://{auth}/api/authz/auth-request;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URL https://$http_host$request_uri;
        }}
        location / {{
            auth_request /internal/authz;
            auth_request_set $user $upstream_http_remote_user;
            auth_request_set $login $upstream_http_location;
            error_page 401 =302 $login;
            proxy_set_header Remote-User $user;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout 1h;
            proxy_pass http://{upstream};
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the web VM is set up from, for faults to change.

    `text` is nginx's configuration, `certified` the names in its certificate.
    """

    text: str
    certified: tuple[str, ...]


@dataclass
class RunningIngress:
    """The running web VM and its authentication service."""

    spec: Ingress
    web: LanHost
    certificate: Path
    _auth: LanHost
    _client: LanHost
    _dns: Dns
    _nginx: Resident
    _guard: ExitStack
    _password: str = field(
        default_factory=lambda: secrets.token_urlsafe(16), repr=False
    )

    def visitor(self) -> Visitor:
        """Return a new visitor, without cookies."""
        return Visitor(self._client, self._dns, self.certificate)

    def sign_in(self, visitor: Visitor, password: str | None = None) -> bool:
        """Log in as USER at the portal; return whether that gave a session."""
        known = {"username": USER, "password": password or self._password}
        body = json.dumps(known).encode()
        page = visitor.visit(self.spec.portal, "/api/firstfactor", body=body)
        return page.status == 200 and bool(visitor.cookies)  # noqa: PLR2004 - HTTP

    @contextmanager
    def without_auth(self) -> Iterator[None]:
        """Stop the authentication service for the length of the `with`.

        Its sessions are in memory: afterwards every visitor must log in again.
        """
        self._guard.close()
        try:
            yield
        finally:
            self.guard()

    def guard(self) -> None:
        """Start the authentication service."""
        knows = {
            "portal": self.spec.portal,
            "domain": self.spec.portal.partition(".")[2],
            "users": {USER: self._password},
        }
        resident = self._guard.enter_context(
            serving.serve(
                self.web.sandbox,
                self._auth,
                self.spec.auth.port,
                ["portal.py"],
                log=f"serve-{AUTH}.log",
                stdin=PIPE,
            )
        )
        wire = cast("IO[bytes]", resident.outer.stdin)
        wire.write(json.dumps(knows).encode())
        wire.close()

    def workers(self) -> frozenset[int]:
        """PIDs of nginx's workers, those that are finishing included."""
        pid = self._nginx.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return frozenset(map(int, children.read_text().split()))

    def reload(self) -> None:
        """Have nginx read its configuration again, and await its new worker."""
        before = self.workers()
        self._nginx.signal(signal.SIGHUP)
        awaited = Deadline.after(_RELOAD_BUDGET, "nginx to start a new worker")
        poll(lambda: self.workers() - before or None, awaited)


@contextmanager
def run_ingress(
    spec: Ingress,
    upstream: Endpoint,
    *,
    hosts: tuple[LanHost, LanHost],
    client: LanHost,
    dns: Dns,
    changes: list[Change],
) -> Iterator[RunningIngress]:
    """Run web VM and auth service, on their `hosts`, for the length of the `with`.

    Raises HostError where nginx or openssl is missing, ProcessFailed with nginx's own
    words when it does not start.
    """
    web, auth = hosts
    directory = web.sandbox.directory / _DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    setup = Setup(render(spec, upstream, directory), (spec.name, spec.portal))
    for change in changes:
        setup = change(setup)
    deadline = Deadline.after(_START_BUDGET, "the certificates of the web VM")
    authority = found_authority(directory, deadline)
    authority.issue("web", setup.certified, deadline)
    config = directory / "nginx.conf"
    config.write_text(setup.text, encoding="utf-8")
    for name in (spec.name, spec.portal):
        dns.set(name, spec.ip, restart=False)
    dns.restart()
    binary = [str(computer.nginx()), "-p", str(directory), "-c", str(config)]
    with ExitStack() as stack:
        log = directory / "error.log"
        said = stack.enter_context(log.open("ab"))
        nginx = stack.enter_context(
            web.sandbox.spawn(
                [*binary, "-e", str(log)],
                host=web.host,
                stderr=said,
                needed="nginx of the web VM",
            )
        )
        running = RunningIngress(
            spec=spec,
            web=web,
            certificate=authority.certificate,
            _auth=auth,
            _client=client,
            _dns=dns,
            _nginx=nginx,
            _guard=stack.enter_context(ExitStack()),
        )
        running.guard()
        _await_start(nginx, web, spec.ip, log)
        yield running


def render(spec: Ingress, upstream: Endpoint, directory: Path) -> str:
    """Write nginx's configuration: lab behind a login, and the login page."""
    return _CONFIG.format(
        directory=directory,
        ip=spec.ip,
        name=spec.name,
        portal=spec.portal,
        auth=spec.auth,
        upstream=upstream,
    )


def _await_start(nginx: Resident, web: LanHost, ip: IPv4Address, log: Path) -> None:
    awaited = Deadline.after(_START_BUDGET, "nginx to listen")

    def listening() -> bool | None:
        if not nginx.running:
            words = log.read_text(errors="replace").splitlines()[-10:]
            raise ProcessFailed("nginx did not start", evidence=words)
        return web.tcp(ip, PORT, awaited) or None

    poll(listening, awaited, interval=0.01)
