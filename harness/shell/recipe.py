"""How a machine is made, start after start: its disk, its RAM, its command line.

A recipe outlives the single run of QEMU, because a machine that crashed is started
again from the same disk, through the same init.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.qemu import Disk, MachinePlan, Ram, SavedState, disk, seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.deadline import Deadline
    from harness.fleet import Vm
    from harness.host import Accelerator
    from harness.site import Site

    Adapt = Callable[[MachinePlan], MachinePlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """The init oneshot: disk from the base image, seed from the spec.

    Both are made only where they are missing, so a second start changes nothing. With
    `relative` the disk names its base as seen from its own directory.
    """

    vm: Vm
    gateway: IPv4Interface
    base: Path
    disk: Path
    seed: Path
    relative: bool = False

    def __call__(self, deadline: Deadline) -> str:
        """Make what is missing; return what was done, for the journal."""
        done = []
        if self.disk.exists():
            done.append("disk already present")
        else:
            disk.overlay(
                self.disk,
                self.base,
                deadline,
                size_g=self.vm.disk_size_g,
                relative=self.relative,
            )
            done.append(f"disk created on {self.base}")
        if self.seed.exists():
            done.append("seed already present")
        else:
            seed.write(self.seed, seed.contents(self.vm, self.gateway))
            done.append("seed created")
        return ", ".join(done)


@dataclass(kw_only=True)
class Recipe:
    """What every start of one machine has in common.

    With `saved`, the first start continues that state and the later ones boot; `cold`
    says that the time for continuing is over. With `save_into`, disk and RAM are made
    where the template is to be. `adapt` has the last word on the plan, for faults.
    """

    vm: Vm
    directory: Path
    accelerator: Accelerator
    gateway: IPv4Interface
    base: Path
    saved: Path | None = None
    save_into: Path | None = None
    adapt: Adapt = field(default=lambda plan: plan)
    cold: bool = False

    @property
    def home(self) -> Path:
        """Where disk and RAM are."""
        return self.save_into or self.directory

    @property
    def disk(self) -> Path:
        """The machine's own disk."""
        return self.home / "disk.qcow2"

    @property
    def seed(self) -> Path:
        """The seed ISO; a restored machine keeps the one it booted with."""
        return (self.saved or self.directory) / "seed.iso"

    @property
    def continues(self) -> bool:
        """Whether the next start continues a saved state instead of booting."""
        return self.saved is not None and not self.cold

    def init(self, deadline: Deadline) -> str:
        """Make what is missing, and never touch what is there."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.saved is None:
            oneshot = Init(
                vm=self.vm,
                gateway=self.gateway,
                base=self.base,
                disk=self.disk,
                seed=self.seed,
                relative=self.save_into is not None,
            )
            return oneshot(deadline)
        return self._init_from(self.saved, deadline)

    def _init_from(self, saved: Path, deadline: Deadline) -> str:
        if self.disk.exists():
            return "disk already present"
        if SavedState.read(saved).kind == "internal":
            # An overlay does not see the snapshots inside its backing file.
            disk.copy(self.base, self.disk, deadline)
            return f"disk copied from {self.base}"
        stored = self.save_into is not None
        disk.overlay(self.disk, self.base, deadline, relative=stored)
        if self.save_into is not None:
            disk.copy_sparse(saved / "ram", self.save_into / "ram", deadline)
        return f"disk created on {self.base}"

    def plan(self, tap: str) -> MachinePlan:
        """Plan the next start."""
        plan = MachinePlan(
            name=self.vm.name,
            directory=self.directory,
            mem=self.vm.mem,
            vcpu=self.vm.vcpu,
            mac=self.vm.mac,
            accelerator=self.accelerator.name,
            cpu=self.accelerator.cpu,
            disk=Disk(path=self.disk, serial=self.vm.name),
            seed=self.seed,
            tap=tap,
            ram=self._ram(),
            incoming=self.continues and self._kind() == "template",
            paused=self.continues,
        )
        return self.adapt(plan)

    def _kind(self) -> str:
        return SavedState.read(self.saved).kind if self.saved is not None else ""

    def _ram(self) -> Ram | None:
        """Choose the guest's memory; a boot begins with an empty one."""
        if self.continues and self._kind() == "template":
            home = self.save_into or self.saved
            return (
                Ram(path=home / "ram", shared=home == self.save_into) if home else None
            )
        if self.save_into is None:
            return None
        path = self.save_into / "ram"
        path.unlink(missing_ok=True)
        return Ram(path=path, shared=True)


def check_fits(
    saved: SavedState, vm: Vm, accelerator: Accelerator, version: str
) -> None:
    """Refuse to restore into a machine of another shape. Raises HarnessError."""
    pairs = {
        "mac": (saved.mac, vm.mac),
        "mem": (saved.mem, vm.mem),
        "vcpu": (saved.vcpu, vm.vcpu),
        "accelerator": (saved.accelerator, accelerator.name),
        "cpu": (saved.cpu, accelerator.cpu),
        "qemu": (saved.qemu, version),
    }
    wrong = [f"{k}: {a} then, {b} now" for k, (a, b) in pairs.items() if a != b]
    if wrong:
        raise HarnessError(
            f"{vm.name} cannot continue what was saved as another machine",
            evidence=wrong,
            hint="run `harness clean`; what is missing is built again",
        )


def gateway_of(site: Site) -> IPv4Interface:
    """Return the site's gateway with the prefix length of its subnet."""
    network = site.network
    return IPv4Interface((network.gateway, network.subnet.prefixlen))
