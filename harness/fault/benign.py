"""Harmless oddities: a healthy system has some, and no suite may mind them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.fault import inodes, network, sessions, store
from harness.fault.base import NOTHING, Fault
from harness.fault.means import configure, drop_in, run
from harness.fault.network import LanFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from harness.machine import Machine
    from harness.site import Site


class Benign(Fault):
    """Something odd about a machine while lab is restarted."""

    benign = True
    criteria = (sessions.CRITERION,)
    scenario = "daemon-reexec"


class SlowLab(Benign):
    """Lab takes three seconds to start."""

    name = "lab-takes-3-s"

    def inject(self, machine: Machine) -> None:
        """Delay its start."""
        lines = "[Service]\nExecStartPre=/usr/bin/sleep 3\n"
        drop_in(machine, machine.lab.unit, lines)


class FailingUnit(Benign):
    """A unit that is none of the plan's has failed."""

    name = "extra-unit-fails"

    def inject(self, machine: Machine) -> None:
        """Have one fail."""
        run(machine, "systemd-run --quiet --unit=experiment false; sleep 1")


class ClockJump(Benign):
    """The clock jumps by two seconds during the switch."""

    name = "clock-jumps-2-s"

    def inject(self, machine: Machine) -> None:
        """Have the activation set it."""
        configure(
            machine,
            "{ ... }: { system.activationScripts.jump = "
            "\"/usr/bin/date -s '+2 seconds'\"; }\n",
        )


class BusyNeighbour(Benign):
    """A process of low priority takes all of a processor that is left."""

    name = "heavy-load-beside"

    def inject(self, machine: Machine) -> None:
        """Start one."""
        run(
            machine,
            "systemd-run --quiet --unit=busy -p CPUWeight=1 -p Nice=19"
            " /bin/sh -c 'while :; do :; done'",
        )


class NoisySession(Benign):
    """One more session writes to its screen without a pause."""

    name = "noisy-session"

    def inject(self, machine: Machine) -> None:
        """Start it."""
        machine.lab.start_session("noisy", "while :; do echo noise; sleep 0.2; done")


class ForeignTmux(Benign):
    """Another user has a tmux server of his own."""

    name = "tmux-of-another-user"

    def inject(self, machine: Machine) -> None:
        """Start one."""
        run(machine, "tmux new-session -d -s mine cat")


class MoreNames(LanFault):
    """The final address has a second name."""

    name = "second-name"
    expects = NOTHING
    benign = True
    criteria = (network.CRITERION,)

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve it."""
        site.dns.set("lab.cloonar.com", self.move.final)
        return super().alter_network(site)


class ChattyNeighbour(LanFault):
    """Another host of the LAN announces its own address over and over."""

    name = "neighbour-announces-itself"
    expects = NOTHING
    benign = True
    criteria = (network.CRITERION,)

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Have one on the LAN."""
        with site.lan_host("printer", site.network.gateway + 200) as printer:
            for _ in range(20):
                printer.announce()
            yield


class OverlayElsewhere(Benign):
    """A container engine has overlays mounted, outside of the store."""

    name = "overlay-outside-nix"
    criteria = (store.CRITERION,)
    scenario = "live-sessions"

    def inject(self, machine: Machine) -> None:
        """Mount one."""
        run(
            machine,
            "mkdir -p /var/pod/lower /var/pod/upper /var/pod/work /var/pod/merged\n"
            "mount -t overlay overlay -o lowerdir=/var/pod/lower,"
            "upperdir=/var/pod/upper,workdir=/var/pod/work /var/pod/merged",
        )


class ManyFiles(Benign):
    """A user has three thousand files, which do not grow in number."""

    name = "many-files-in-home"
    criteria = (inodes.CRITERION,)
    scenario = "layout"

    def inject(self, machine: Machine) -> None:
        """Write them."""
        run(
            machine,
            "mkdir -p /home/dev/tree\ncd /home/dev/tree\nseq 3000 | xargs touch",
        )
