"""Harmless oddities: a healthy system has some, and no suite may mind them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.fault.base import NOTHING, Fault
from harness.fault.inodes import LAYOUT
from harness.fault.means import configure, drop_in, run
from harness.fault.network import SWAPPED, LanFault
from harness.fault.sessions import RESTART
from harness.fault.store import SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from harness.machine import Machine
    from harness.site import Site


class Benign(Fault):
    """Something odd about a machine while lab is restarted."""

    benign = True
    tests = RESTART


class SlowLab(Benign):
    """A migration of its database, say."""

    name = "lab-takes-3-s"
    story = "lab takes three seconds to start"

    def wake(self, machine: Machine) -> None:
        """Delay its start."""
        lines = "[Service]\nExecStartPre=/usr/bin/sleep 3\n"
        drop_in(machine, machine.recipe.lab.unit, lines)


class FailingUnit(Benign):
    """Somebody's experiment."""

    name = "extra-unit-fails"
    story = "a unit that is none of the plan's has failed"

    def wake(self, machine: Machine) -> None:
        """Have one fail."""
        run(machine, "systemd-run --quiet --unit=experiment false; sleep 1")


class ClockJump(Benign):
    """NTP found out."""

    name = "clock-jumps-2-s"
    story = "the clock jumps by two seconds during the switch"

    def wake(self, machine: Machine) -> None:
        """Have the activation set it."""
        configure(
            machine,
            "{ ... }: { system.activationScripts.jump = "
            "\"/usr/bin/date -s '+2 seconds'\"; }\n",
        )


class BusyNeighbour(Benign):
    """A build at low priority."""

    name = "heavy-load-beside"
    story = "a process of low priority takes all of a processor that is left"

    def wake(self, machine: Machine) -> None:
        """Start one."""
        run(
            machine,
            "systemd-run --quiet --unit=busy -p CPUWeight=1 -p Nice=19"
            " /bin/sh -c 'while :; do :; done'",
        )


class NoisySession(Benign):
    """An agent that has much to say."""

    name = "noisy-session"
    story = "one more session writes to its screen without a pause"

    def wake(self, machine: Machine) -> None:
        """Start it."""
        machine.lab.start_session("noisy", "while :; do echo noise; sleep 0.2; done")


class ForeignTmux(Benign):
    """root has sessions, too."""

    name = "tmux-of-another-user"
    story = "another user has a tmux server of his own"

    def wake(self, machine: Machine) -> None:
        """Start one."""
        run(machine, "tmux new-session -d -s mine cat")


class MoreNames(LanFault):
    """An alias."""

    name = "second-name"
    story = "the final address has a second name"
    expects = NOTHING
    benign = True
    tests = SWAPPED

    def site(self, site: Site) -> AbstractContextManager[object]:
        """Serve it."""
        site.dns.set("lab.cloonar.com", self.move.final)
        return super().site(site)


class ChattyNeighbour(LanFault):
    """A printer."""

    name = "neighbour-announces-itself"
    story = "another host of the LAN announces its own address over and over"
    expects = NOTHING
    benign = True
    tests = SWAPPED

    @contextmanager
    def site(self, site: Site) -> Iterator[None]:
        """Have one on the LAN."""
        with site.lan_host("printer", site.network.gateway + 200) as printer:
            for _ in range(20):
                printer.announce()
            yield


class OverlayElsewhere(Benign):
    """Containers."""

    name = "overlay-outside-nix"
    story = "a container engine has overlays mounted, outside of the store"
    tests = SESSIONS

    def wake(self, machine: Machine) -> None:
        """Mount one."""
        run(
            machine,
            "mkdir -p /var/pod/lower /var/pod/upper /var/pod/work /var/pod/merged\n"
            "mount -t overlay overlay -o lowerdir=/var/pod/lower,"
            "upperdir=/var/pod/upper,workdir=/var/pod/work /var/pod/merged",
        )


class ManyFiles(Benign):
    """A checkout with its node_modules."""

    name = "many-files-in-home"
    story = "a user has three thousand files, which do not grow in number"
    tests = LAYOUT

    def wake(self, machine: Machine) -> None:
        """Write them."""
        run(
            machine,
            "mkdir -p /home/dev/tree\ncd /home/dev/tree\nseq 3000 | xargs touch",
        )
