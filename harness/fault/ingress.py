"""Ways in which the public path to lab stands open, leads astray, or breaks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from harness.errors import MachineError
from harness.fault.base import must_fail
from harness.fault.network import LanFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.site import Setup, Site

CRITERION = "ingress-auth"


class IngressFault(LanFault):
    """A fault of the web VM's configuration."""

    scenario = "portal"
    expects = must_fail(CRITERION, "a request without a session is refused")
    line: ClassVar[str] = ""
    """A part of nginx's configuration."""
    instead: ClassVar[str] = ""
    """The text that replaces it."""

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Set the web VM up differently."""
        site.web_changes.append(self.change)
        yield

    def change(self, setup: Setup) -> Setup:
        """Put `instead` in the place of `line`, which must be there."""
        return self.exchange(setup, self.line, self.instead)

    def exchange(self, setup: Setup, line: str, instead: str) -> Setup:
        """Exchange a part of nginx's configuration."""
        if line not in setup.text:
            raise MachineError(f"fault {self.name}: nginx has no {line!r}")
        return replace(setup, text=setup.text.replace(line, instead))


class NoAuthRequest(IngressFault):
    """The web VM's vhost asks for no login."""

    name = "ingress-without-auth"
    source = "coding-lab docs/reference/lab-v0, ops.md (proxy)"
    line = "auth_request /internal/authz;"


class FailsOpen(IngressFault):
    """The web VM serves every request while the auth service does not answer."""

    name = "ingress-fails-open"
    source = "nginx ngx_http_auth_request_module (another status is an error, 500)"
    expects = must_fail(
        CRITERION, "without the authentication service every request fails"
    )
    line = "            auth_request /internal/authz;"
    instead = "            error_page 500 502 504 = @lab;\n" + line

    def change(self, setup: Setup) -> Setup:
        """Add a location without a login, for errors to go to."""
        upstream = setup.text.rpartition("proxy_pass ")[2].partition(";")[0]
        here = "        location = /internal/authz {"
        there = f"        location @lab {{ proxy_pass {upstream}; }}\n"
        return super().change(self.exchange(setup, here, there + here))


class RemoteUserPassed(IngressFault):
    """The web VM passes on the Remote-User header that a client sent."""

    name = "remote-user-passed-through"
    source = "coding-lab docs/reference/lab-v0, ops.md (trustedProxies)"
    expects = must_fail(CRITERION, "a forged Remote-User header does not reach lab")
    line = "proxy_set_header Remote-User $user;"


class OtherCertificate(IngressFault):
    """The web VM shows a certificate of another name."""

    name = "certificate-of-another-name"
    source = "nginx, Configuring HTTPS servers (name-based)"
    expects = must_fail(CRITERION, "the certificate is valid for the public name")

    def change(self, setup: Setup) -> Setup:
        """Have it certified for another name."""
        return replace(setup, certified=("www.cloonar.com",))


class StillProxied(IngressFault):
    """The web VM still leads to the temporary address after the swap."""

    name = "ingress-to-temporary"
    source = "coding-lab deployment-example-lab.nix (hard-coded)"
    expects = must_fail(
        CRITERION, "a signed-in client reaches lab on the final address"
    )
    scenario = "after-the-swap"

    def change(self, setup: Setup) -> Setup:
        """Lead there."""
        final, temporary = (f"http://{ip}:" for ip in self.move_to_and_from)
        return self.exchange(setup, final, temporary)

    @property
    def move_to_and_from(self) -> tuple[str, str]:
        """The final and the temporary address."""
        return str(self.move.final), str(self.move.temporary)


class ImpatientReload(IngressFault):
    """A reload of nginx cuts every open stream at once."""

    name = "reload-cuts-streams"
    source = "nginx core module, worker_shutdown_timeout"
    expects = must_fail(CRITERION, "an event stream goes on over a reload")
    scenario = "reload"
    line = "worker_processes 1;"
    instead = "worker_processes 1;\nworker_shutdown_timeout 1ms;"


class ImpatientProxy(IngressFault):
    """The web VM closes a stream in which nothing happens for a minute."""

    name = "idle-streams-cut"
    source = "nginx ngx_http_proxy_module, proxy_read_timeout (60 s)"
    expects = must_fail(CRITERION, "an idle WebSocket stays open")
    scenario = "idle-stream"
    line = "proxy_read_timeout 1h;"


class NoUpgrade(IngressFault):
    """The web VM does not pass a WebSocket's upgrade on."""

    name = "websockets-not-upgraded"
    source = "nginx, WebSocket proxying (hop-by-hop headers)"
    expects = must_fail(CRITERION, "a WebSocket opens through the web VM")
    scenario = "reload"
    line = "proxy_set_header Upgrade $http_upgrade;"
