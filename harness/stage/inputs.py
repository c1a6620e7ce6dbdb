"""Run inputs: the fleet, image and accelerator of a run, and the fault injected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError
from harness.machine import NO_HOOKS, Hooks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from harness.fleet import CloudInit, Fleet, Vm
    from harness.host import Accelerator
    from harness.image import Image
    from harness.machine import Machine
    from harness.site import Site

OLD = "old"

# The VM to retire needs to do one thing only: answer on the final address where lab
# is expected, so that the client's caches are warm with *its* MAC.
_OLD_USER_DATA = """\
#cloud-config
runcmd:
  - [systemd-run, --unit=old-lab, python3, -m, http.server, "{lab.port}", -d, /srv]
"""


class Injection(Hooks["Machine"], Protocol):
    """A fault as its hooks (`harness.fault.Fault`, which documents each).

    `alter_spec`, `alter_network` and `inject` are called by the test bed, `inject_once`
    by the stages that it builds, those of `Hooks` by the machines that they restore.
    """

    @property
    def name(self) -> str:
        """Its name, fit for a file."""
        ...

    @property
    def digest(self) -> str:
        """A digest of its code."""
        ...

    @property
    def after(self) -> str:
        """The stage that its own comes after."""
        ...

    @property
    def microvm(self) -> bool:
        """Whether a machine under test boots as a microvm, each time."""
        ...

    @property
    def injects_once(self) -> bool:
        """Whether it has a stage of its own."""
        ...

    def story(self) -> str:
        """Say what goes wrong, in one sentence without a full stop."""
        ...

    def affects(self, machine: str) -> bool:
        """Whether it is about the machine of this name."""
        ...

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Change the spec of the whole run."""
        ...

    def inject_once(self, machine: Machine, inputs: RunInputs) -> None:
        """Change the machine of the stage `after`."""
        ...

    def inject(self, machine: Machine) -> None:
        """Change a machine each time that it was restored or booted."""
        ...

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Change the LAN for the length of a `with`."""
        ...


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What the states of all machines of a run are made from."""

    fleet: Fleet
    image: Image
    accelerator: Accelerator
    fault: Injection | None = None

    def vm(self, name: str) -> Vm:
        """Return the throwaway-sized VM of that name; `old` is the one to retire."""
        if name == OLD:
            return self._old()
        return self.fleet.throwaway_vm(name)

    def with_cloud_init(self, vm: str, cloud_init: CloudInit) -> RunInputs:
        """Return the same inputs with another cloud-init of one VM."""
        own = self.fleet.vms[vm].model_copy(update={"cloud_init": cloud_init})
        vms = {**self.fleet.vms, vm: own}
        return replace(self, fleet=self.fleet.model_copy(update={"vms": vms}))

    def fault_of(self, vm: str) -> Injection | None:
        """Return the fault, if there is one and it is about this machine."""
        return self.fault if self.fault and self.fault.affects(vm) else None

    def hooks(self, vm: str) -> Hooks[Machine]:
        """Return what alters a machine under test: the fault, if it is about it."""
        return self.fault_of(vm) or NO_HOOKS

    def as_microvm(self, vm: str) -> bool:
        """Return whether a fault has the machine boot as a microvm."""
        fault = self.fault_of(vm)
        return fault is not None and fault.microvm

    def _old(self) -> Vm:
        migration = self.fleet.migration
        if migration is None:
            raise HarnessError(
                "no old VM: the spec has no [migration]",
                hint="add [migration] with vm, temporary and final to the fleet file",
            )
        heir = self.fleet.throwaway_vm(migration.vm)
        return heir.model_copy(
            update={
                "name": OLD,
                "ip": migration.final,
                "mac": _neighbour_mac(heir.mac),
                "cloud_init": heir.cloud_init.model_copy(
                    update={"user_data": _OLD_USER_DATA.format(lab=self.fleet.lab)}
                ),
            }
        )


def _neighbour_mac(mac: str) -> str:
    """Return a MAC that differs from this one in the last byte alone."""
    head, _, last = mac.rpartition(":")
    return f"{head}:{int(last, 16) ^ 0x80:02x}"
