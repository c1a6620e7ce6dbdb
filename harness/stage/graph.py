"""What the stages are, and how a machine gets from one to the next."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.criteria import StageName
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from harness.guest.rebuild import Rebuild
    from harness.machine import Machine
    from harness.stage.inputs import RunInputs

# The sessions every onboarded machine has, as people leave them for days: two that
# write down their own heartbeat, and a shell that answers what is typed.
HEARTBEATS = ("alpha", "beta")
TALKER = "gamma"
# What hosts/dev keeps secret, and in which file.
SECRETS_FILE, MASTER_KEY = "/etc/nixos/secrets.json", "lab-master-key"
_TIMERS = ("nix-gc.timer", "bento-upgrade.timer")


@dataclass(frozen=True, slots=True)
class Stage:
    """One state of the migration.

    `advance` brings a running machine from the parent's state to this one; `code` is
    what the digest sees of it.
    """

    name: str
    parent: str | None
    title: str
    advance: Callable[[Machine, RunInputs], None]


def lineage(stage: str) -> list[Stage]:
    """Return the stages from the first to the named one. Raises HarnessError."""
    line: list[Stage] = []
    name: str | None = stage
    while name is not None:
        if name not in STAGES:
            raise HarnessError(
                f"no stage {name!r}", hint=f"there are: {', '.join(STAGES)}"
            )
        line.insert(0, STAGES[name])
        name = STAGES[name].parent
    return line


def _finish_cloud_init(machine: Machine, _inputs: RunInputs) -> None:
    """Wait until cloud-init has applied the seed, and hold it to its own verdict."""
    machine.succeed("cloud-init", "status", "--wait", timeout=300)


def _infect(machine: Machine, inputs: RunInputs) -> None:
    """Convert the cloud image, then reboot through its own boot loader.

    A machine whose image is a NixOS already has nothing to convert.
    """
    if machine.execute("test", "-e", "/etc/NIXOS").rc == 0:
        return
    vm, network = machine.vm, inputs.fleet.network
    machine.succeed(
        "/usr/lib/reference/nixos/infect",
        *("--mac", vm.mac),
        *("--address", f"{vm.ip}/{network.subnet.prefixlen}"),
        *("--gateway", str(network.gateway)),
        timeout=600,
    )
    machine.reboot()
    machine.wait_for_unit("multi-user.target")


def _onboard(machine: Machine, inputs: RunInputs) -> None:
    """Apply hosts/dev, clean up after infect, leave sessions running as people do."""
    machine.succeed("rm", "-rf", "/old-root", "/boot.bak", timeout=300)
    _seal_secrets(machine)
    _must_succeed(machine.system.rebuild("switch"), "onboarding")
    settle(machine, inputs)


def settle(machine: Machine, inputs: RunInputs) -> None:
    """Leave a booted machine as people find it: lab up, sessions of theirs running."""
    machine.wait_for_unit(inputs.fleet.lab.unit)
    # A calendar timer that was saved late fires at every restore. The next switch
    # starts them again, counting from then (systemd.timer(5), Persistent=).
    machine.succeed("systemctl", "stop", *_TIMERS)
    machine.lab.start_session(TALKER)
    for session in HEARTBEATS:
        machine.lab.start_heartbeat(session)


def write_out(machine: Machine) -> None:
    """Have all of a state on its disk, as it would be when it is used days later.

    Else a power cut after a restore loses what the stage itself wrote: ssh host keys of
    a first boot came back empty, and cloud-init does not make them again.
    """
    machine.succeed("sync")


def _seal_secrets(machine: Machine) -> None:
    """Make hosts/dev's secrets, now that there is a host key to encrypt them for."""
    if machine.execute("test", "-e", SECRETS_FILE).rc != 0:
        values = {MASTER_KEY: secrets.token_urlsafe(32)}
        machine.write_file(SECRETS_FILE, machine.secrets.seal(values))


def _swap(machine: Machine, inputs: RunInputs) -> None:
    """Move the machine from its temporary to its final address by a switch."""
    migration = inputs.fleet.migration
    if migration is None:
        raise HarnessError("stage `swapped` needs [migration] in the fleet file")
    _must_succeed(
        address_changed(machine, migration.temporary, migration.final, verb="switch"),
        f"moving to {migration.final}",
    )


def address_changed(
    machine: Machine, old: IPv4Address, new: IPv4Address, *, verb: str
) -> Rebuild:
    """Change the address in hosts/dev as a person would, and rebuild with `verb`.

    Nothing may be left of the old one: a second call with the same addresses changes
    no file, so a build can come before the switch.
    """
    machine.succeed(
        *("sed", "-i", f"s/{re.escape(str(old))}/{new}/g"),
        "/etc/nixos/networking.nix",
    )
    return machine.system.rebuild(verb)


def _must_succeed(rebuilt: Rebuild, what: str) -> None:
    if not rebuilt.succeeded:
        raise HarnessError(
            f"{what}: {' '.join(rebuilt.argv)} failed",
            seen=f"exit status {rebuilt.rc}",
            evidence=rebuilt.output.splitlines()[-30:],
        )


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            StageName.CLOUD,
            None,
            "the cloud image, booted with its seed ISO",
            _finish_cloud_init,
        ),
        Stage(
            StageName.NIXOS,
            StageName.CLOUD,
            "converted in place and rebooted",
            _infect,
        ),
        Stage(
            StageName.ONBOARDED,
            StageName.NIXOS,
            "hosts/dev applied, lab and sessions up",
            _onboard,
        ),
        Stage(
            StageName.SWAPPED,
            StageName.ONBOARDED,
            "moved to the final address",
            _swap,
        ),
    )
}
