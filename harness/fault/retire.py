"""Ways in which a VM that was removed is still there."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.fault.base import must_fail
from harness.fault.means import LeavesTap
from harness.fault.network import LanFault
from harness.fault.shell import WeightIgnored
from harness.shell import AlteredShell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.deadline import Deadline
    from harness.machine import Machine
    from harness.shell import Shell
    from harness.site import Site

CRITERION = "swap-retires-old"


class RetireFault(LanFault):
    """A fault of the old VM's removal: something is left."""

    scenario = "retire"
    machines = frozenset({"old"})


class StillRunning(RetireFault):
    """The old VM's files are removed while it goes on running."""

    name = "removed-vm-keeps-running"
    source = "microvm.nix#508"
    expects = must_fail(CRITERION, "no process of the old VM is left")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Remove its files and nothing else."""
        _ = site
        return _GoesOn(shell)


class _GoesOn(AlteredShell):
    @override
    def retire(self, deadline: Deadline) -> None:
        _ = deadline
        for path in self.directory.iterdir():
            path.unlink()


class ComesBack(RetireFault):
    """The old VM is created and started again after it was removed."""

    name = "removed-vm-is-started-again"
    source = "microvm.nix#509 (an instance unit that is still wanted)"
    expects = must_fail(CRITERION, "no process of the old VM is left")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Start it again, from the first step on."""
        _ = site
        return _ComesBack(shell)


class _ComesBack(AlteredShell):
    @override
    def retire(self, deadline: Deadline) -> None:
        super().retire(deadline)
        self.start(deadline)


class ImageLeft(RetireFault):
    """The old VM's image was moved aside and never removed."""

    name = "image-left-behind"
    source = "the plan's PR3 (rootfs.img, 51 G)"
    expects = must_fail(CRITERION, "no file of the old VM is left")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Keep it under another name."""
        return _KeepsImage(shell, site.directory / "rootfs.img.bak")


class _KeepsImage(AlteredShell):
    def __init__(self, inner: Shell, aside: Path) -> None:
        super().__init__(inner)
        self._aside = aside

    @override
    def retire(self, deadline: Deadline) -> None:
        self._aside.hardlink_to(self.disk)
        super().retire(deadline)


class DirectoryLeft(RetireFault):
    """The old VM's state directory is made again, with its lock."""

    name = "state-directory-left"
    source = "microvm.nix nixos-modules/host (tmpfiles, /var/lib/microvms)"
    expects = must_fail(CRITERION, "no file of the old VM is left")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Make it again."""
        _ = site
        return _KeepsDirectory(shell)


class _KeepsDirectory(AlteredShell):
    @override
    def retire(self, deadline: Deadline) -> None:
        super().retire(deadline)
        self.directory.mkdir(mode=0o700)
        (self.directory / "lock").touch()


class ImageHeld(RetireFault):
    """A backup still reads the removed image, so its blocks are not given back."""

    name = "deleted-image-held-open"
    source = "unlink(2) (the file remains until the last descriptor is closed)"
    expects = must_fail(CRITERION, "no process holds the old VM's files open")

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """End the reader when the LAN goes."""
        _ = site
        with self._stack:
            yield

    def inject(self, machine: Machine) -> None:
        """Have a reader that does not name what it reads."""
        with machine.disk.open("rb") as image:
            sandbox = machine.site.sandbox
            self._stack.enter_context(sandbox.spawn(["sleep", "3600"], stdin=image))


class RetiredTapLeft(RetireFault):
    """The old VM's tap stays on the bridge."""

    name = "removed-vm-leaves-its-tap"
    source = "aleph-vm#596; nixpkgs#27070"
    expects = must_fail(CRITERION, "no tap of the old VM is left")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Put the tap back."""
        return LeavesTap(shell, site)


class LeaseLeft(RetireFault):
    """Dnsmasq still reserves the final address for the old VM's MAC."""

    name = "lease-left-behind"
    source = "dnsmasq(8), --dhcp-host"
    expects = must_fail(
        CRITERION, "dnsmasq's configuration does not mention the old VM"
    )

    def inject(self, machine: Machine) -> None:
        """Reserve it."""
        reservation = f"dhcp-host={machine.vm.mac},{machine.vm.ip}"
        machine.site.dns.options.append(reservation)
        machine.site.dns.restart()


class WeightStaysBehind(WeightIgnored):
    """The CPU weight is still set on the old VM's unit, dev's has none."""

    name = "cpu-weight-stays-with-the-old-unit"
    source = "containers/qm#748; the plan's cpu-priorities.nix (microvm@dev)"
    expects = must_fail(CRITERION, "the CPU weight is set on dev's unit")
    scenario = "retire"
