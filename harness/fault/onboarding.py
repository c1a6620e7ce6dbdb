"""Ways in which the onboarded host is not what the plan says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.fault.base import Fault, must_fail
from harness.fault.means import deploy, drop_in, run
from harness.fault.network import LanFault

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from harness.machine import Machine
    from harness.site import Site

CRITERION = "onboard-host-config"
_TESTS = "suites/onboard/test_host.py"
UNIT = (f"{_TESTS}::test_lab_unit_invariants",)
TIMERS = (f"{_TESTS}::test_timers_users_and_what_must_not_be_there",)
REACH = f"{_TESTS}::test_services_are_reached_from_dev"
_RULE_S = 10.0


class RestartsAlways(Fault):
    """A unit that was stopped by hand comes back, and a failing one never rests."""

    name = "lab-restarts-always"
    story = "lab's unit has Restart=always instead of on-failure"
    source = "Cloonar/coding-lab docs/reference/lab-v0 (unit invariants)"
    expects = must_fail(CRITERION, "lab has Restart=on-failure")
    tests = UNIT

    def wake(self, machine: Machine) -> None:
        """Change the unit."""
        drop_in(machine, machine.recipe.lab.unit, "[Service]\nRestart=always\n")


class RunsAsRoot(Fault):
    """It works, and so does everything that a session should not be able to do."""

    name = "lab-runs-as-root"
    story = "lab's unit has no User=, so its sessions are root's"
    source = "Cloonar/coding-lab docs/reference/lab-v0 (unit invariants)"
    expects = must_fail(CRITERION, "lab runs as its own user")
    tests = UNIT

    def wake(self, machine: Machine) -> None:
        """Take the user away."""
        drop_in(machine, machine.recipe.lab.unit, "[Service]\nUser=\n")


class BentoRebootsOn(Fault):
    """Reboots end every session, whatever KillMode says."""

    name = "bento-has-reboots-on"
    story = "bento is deployed with its reboots on"
    source = "rapenne-s/bento bootstrap.sh (a file REBOOT lets it reboot)"
    expects = must_fail(CRITERION, "bento deploys and has reboots off")
    tests = TIMERS

    def wake(self, machine: Machine) -> None:
        """Deploy it."""
        deploy(
            machine,
            "{ lib, ... }: { services.bento.reboot.enable = lib.mkForce true; }\n",
        )


class BorgLeftOn(Fault):
    """The plan leaves the backup out; a copied host configuration brings it along."""

    name = "borg-left-on"
    story = "a borg backup job came along from the host that was copied"
    source = "the plan's hosts/dev (no borg backup)"
    expects = must_fail(CRITERION, "no borg backup")
    tests = TIMERS

    def wake(self, machine: Machine) -> None:
        """Start one."""
        run(
            machine,
            "systemd-run --quiet --unit=borgbackup-job-dev --on-calendar=daily true",
        )


class NoCollector(Fault):
    """Nobody notices before the disk is full."""

    name = "gc-timer-missing"
    story = "the host has no timer that collects garbage"
    source = "nixpkgs#79109 (nix.gc.automatic left off)"
    expects = must_fail(CRITERION, "nix-gc.timer is there")
    tests = TIMERS

    def wake(self, machine: Machine) -> None:
        """Deploy it without."""
        deploy(machine, "{ lib, ... }: { nix.gc.automatic = lib.mkForce false; }\n")


class ForgejoKnowsOne(LanFault):
    """An allow-list that nobody thought of on the day of the swap."""

    name = "forgejo-mcp-knows-the-temporary-address"
    story = "fw lets dev's temporary address through to forgejo-mcp, not its final one"
    source = "the plan's firewall on fw (source addresses by hand)"
    expects = must_fail("forgejo-mcp-reach", "forgejo-mcp answers")
    tests = (f"{REACH}[swapped]",)

    def site(self, site: Site) -> AbstractContextManager[object]:
        """Have the service's host answer everybody but the final address."""
        dropped = ["ip", "route", "add", "blackhole", f"{self.move.final}/32"]
        for host in site.services.values():
            asked = Deadline.after(_RULE_S, f"a rule on {host.name}")
            host.execute(dropped, deadline=asked).check()
        return super().site(site)


class ForgejoRefuses(Fault):
    """Dev's own firewall, and its way out."""

    name = "forgejo-mcp-refuses-dev"
    story = "packets from dev to forgejo-mcp are dropped on the way"
    source = "the plan's firewall on fw (source addresses by hand)"
    expects = must_fail("forgejo-mcp-reach", "forgejo-mcp answers")
    tests = (f"{REACH}[onboarded]",)

    def wake(self, machine: Machine) -> None:
        """Drop them where they leave."""
        rules = "".join(
            f"/usr/sbin/nft add rule inet fault output ip daddr {host.ip} reject\n"
            for host in machine.site.services.values()
        )
        run(
            machine,
            "/usr/sbin/nft add table inet fault\n"
            "/usr/sbin/nft add chain inet fault output"
            " '{ type filter hook output priority 0; }'\n" + rules,
        )
