"""Ways in which the onboarded host is not what the plan says."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.fault.base import Fault, must_fail
from harness.fault.means import OUTPUT, configure, deploy, drop_in, nft, run
from harness.fault.network import NO_ONES_MAC, LanFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from harness.machine import Machine
    from harness.site import LanHost, Site

CRITERION = "onboard-host-config"
FORGEJO = "forgejo-mcp-reach"
_RULE_S = 10.0
_LOGIN_PORT = 8999
_LOGIN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Login(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(401)
HTTPServer(("", int(sys.argv[1])), Login).serve_forever()
"""


class RestartsAlways(Fault):
    """Lab's unit has Restart=always instead of on-failure."""

    name = "lab-restarts-always"
    source = "Cloonar/coding-lab docs/reference/lab-v0 (unit invariants)"
    expects = must_fail(CRITERION, "lab has Restart=on-failure")
    scenario = "lab-unit"

    def inject(self, machine: Machine) -> None:
        """Change the unit."""
        drop_in(machine, machine.lab.unit, "[Service]\nRestart=always\n")


class RunsAsRoot(Fault):
    """Lab's unit has no User=, so its sessions are root's."""

    name = "lab-runs-as-root"
    source = "Cloonar/coding-lab docs/reference/lab-v0 (unit invariants)"
    expects = must_fail(CRITERION, "lab runs as its own user")
    scenario = "lab-unit"

    def inject(self, machine: Machine) -> None:
        """Take the user away."""
        drop_in(machine, machine.lab.unit, "[Service]\nUser=\n")


class BentoRebootsOn(Fault):
    """Bento is deployed with its reboots on."""

    name = "bento-has-reboots-on"
    source = "rapenne-s/bento bootstrap.sh (a file REBOOT lets it reboot)"
    expects = must_fail(CRITERION, "bento has reboots off")
    scenario = "timers-and-users"

    def inject(self, machine: Machine) -> None:
        """Deploy it."""
        deploy(
            machine,
            "{ lib, ... }: { services.bento.reboot.enable = lib.mkForce true; }\n",
        )


class BorgLeftOn(Fault):
    """The host has a borg backup job, from the host that it was copied from."""

    name = "borg-left-on"
    source = "the plan's hosts/dev (no borg backup)"
    expects = must_fail(CRITERION, "no unit of a borg backup is loaded")
    scenario = "timers-and-users"

    def inject(self, machine: Machine) -> None:
        """Start one."""
        run(
            machine,
            "systemd-run --quiet --unit=borgbackup-job-dev --on-calendar=daily true",
        )


class NoCollector(Fault):
    """The host has no timer that collects garbage."""

    name = "gc-timer-missing"
    source = "nixpkgs#79109 (nix.gc.automatic left off)"
    expects = must_fail(CRITERION, "nix-gc.timer is loaded")
    scenario = "timers-and-users"

    def inject(self, machine: Machine) -> None:
        """Deploy it without."""
        deploy(machine, "{ lib, ... }: { nix.gc.automatic = lib.mkForce false; }\n")


class StateVersionRaised(Fault):
    """Hosts/dev has the stateVersion of a later release than it was made with."""

    name = "state-version-raised"
    source = "NixOS options, system.stateVersion (most users should never change it)"
    expects = must_fail(CRITERION, "stateVersion is the release of the conversion")
    scenario = "timers-and-users"

    def inject(self, machine: Machine) -> None:
        """Configure it; what runs is the same."""
        raised = 'lib.mkForce "26.05"'
        configure(machine, f"{{ lib, ... }}: {{ system.stateVersion = {raised}; }}\n")


class ForgejoKnowsOne(LanFault):
    """Fw lets dev's temporary address through to forgejo-mcp, not its final one."""

    name = "forgejo-mcp-knows-the-temporary-address"
    source = "the plan's firewall on fw (source addresses by hand)"
    expects = must_fail(FORGEJO, "forgejo-mcp answers with HTTP status 200")
    scenario = "after-the-swap"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Have the service's host drop its answers to the final address."""
        for host in site.services.values():
            _set_up(host, f"ip route add blackhole {self.move.final}/32")
        return super().alter_network(site)


class ForgejoKeepsTheOldMac(LanFault):
    """The service's host goes on sending its answers for dev to the old VM's MAC."""

    name = "forgejo-mcp-keeps-the-old-mac"
    source = "vmware/vic#2932, #3437; resource-agents#124"
    expects = must_fail(FORGEJO, "forgejo-mcp answers with HTTP status 200")
    scenario = "after-the-swap"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Pin a MAC that no machine has any more."""
        for host in site.services.values():
            host.pin_neighbour(self.move.final, NO_ONES_MAC)
        return super().alter_network(site)


class ForgejoDown(Fault):
    """Forgejo-mcp does not run: its host refuses the connection."""

    name = "forgejo-mcp-down"
    source = "the plan's PR2 (reached by TCP, not by ping)"
    expects = must_fail(FORGEJO, "forgejo-mcp answers with HTTP status 200")
    scenario = "before-the-swap"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Reset each connection, as a port without a listener does."""
        for name, host in site.services.items():
            port = site.network.services[name].port
            reset = f"tcp dport {port} reject with tcp reset"
            _set_up(host, nft("ip", "type filter hook input priority 0", reset))
        return super().alter_network(site)


class ForgejoAsksForLogin(Fault):
    """Forgejo-mcp answers dev, and wants a login that dev does not have."""

    name = "forgejo-mcp-asks-for-a-login"
    source = "the plan's ingress (forward authentication for whole hosts)"
    expects = must_fail(FORGEJO, "forgejo-mcp answers with HTTP status 200")
    scenario = "before-the-swap"

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Answer in the service's place that a login is required."""
        with ExitStack() as stack:
            for name, host in site.services.items():
                port = site.network.services[name].port
                stack.enter_context(_require_login(site, host, port))
            yield


class ForgejoRefuses(Fault):
    """Packets from dev to forgejo-mcp are dropped on the way."""

    name = "forgejo-mcp-refuses-dev"
    source = "the plan's firewall on fw (source addresses by hand)"
    expects = must_fail(FORGEJO, "forgejo-mcp answers with HTTP status 200")
    scenario = "before-the-swap"

    def inject(self, machine: Machine) -> None:
        """Drop them where they leave."""
        hosts = machine.site.services.values()
        run(machine, nft("inet", OUTPUT, *(f"ip daddr {h.ip} reject" for h in hosts)))


@contextmanager
def _require_login(site: Site, host: LanHost, port: int) -> Iterator[None]:
    """Answer each request to a port of a host by 401, as a missing login does."""
    led = f"tcp dport {port} redirect to :{_LOGIN_PORT}"
    _set_up(host, nft("ip", "type nat hook prerouting priority -100", led))
    argv = [sys.executable, "-I", "-S", "-c", _LOGIN, str(_LOGIN_PORT)]
    with site.sandbox.spawn(argv, host=host.host):
        awaited = Deadline.after(_RULE_S, f"the login on {host.name}")
        poll(lambda: site.client.tcp(host.ip, _LOGIN_PORT, awaited) or None, awaited)
        yield


def _set_up(host: LanHost, command: str) -> None:
    """Run nft on a host of the LAN: this computer's own, wherever that is."""
    asked = Deadline.after(_RULE_S, f"a rule on {host.name}")
    _, *words = shlex.split(command)
    host.execute(["nft", *words], deadline=asked).check()
