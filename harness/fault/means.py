"""By what means a fault is put into a guest, or between two steps of a test."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.errors import MachineError
from harness.shell import AlteredShell
from harness.site import layout

if TYPE_CHECKING:
    from harness.deadline import Deadline
    from harness.machine import Machine
    from harness.shell import Shell
    from harness.site import Site

MODULE = "/etc/nixos/fault.nix"
OUTPUT = "type filter hook output priority 0"
# A collector that comes before the real one on the PATH of whoever starts one.
COLLECTOR = "/usr/local/bin/nix-collect-garbage"


def run(machine: Machine, script: str, timeout: float = 120.0) -> str:
    """Run a shell script of a fault; one that fails is the instrument's failure."""
    done = machine.sh(f"set -e\n{script}", timeout=timeout)
    if not done.succeeded:
        raise MachineError(
            f"a fault could not be put into {machine.name}",
            seen=f"exit status {done.rc}",
            evidence=done.output.splitlines()[-20:],
        )
    return done.stdout


def configure(machine: Machine, module: str) -> None:
    """Add a NixOS module to the host's own configuration, for the next rebuild.

    The suites' rebuilds import that configuration, so they carry the module.
    """
    machine.write_file(MODULE, module)
    run(
        machine,
        "grep -q fault.nix /etc/nixos/configuration.nix || "
        "sed -i '0,/imports = \\[/s//imports = [ .\\/fault.nix/' "
        "/etc/nixos/configuration.nix; "
        "grep -q fault.nix /etc/nixos/configuration.nix",
    )


def deploy(machine: Machine, module: str, verb: str = "switch") -> None:
    """Add a NixOS module and make it real at once."""
    configure(machine, module)
    rebuild(machine, verb)


def rebuild(machine: Machine, verb: str = "switch") -> None:
    """Rebuild the host from its own configuration."""
    rebuilt = machine.system.rebuild(verb)
    if not rebuilt.succeeded:
        raise MachineError(
            f"a fault could not be deployed to {machine.name}",
            seen=f"exit status {rebuilt.rc}",
            evidence=rebuilt.output.splitlines()[-20:],
        )


def drop_in(machine: Machine, unit: str, text: str) -> None:
    """Change a unit as an administrator would by hand; gone after a reboot."""
    directory = f"/run/systemd/system/{unit}.d"
    run(machine, f"mkdir -p {directory}")
    machine.write_file(f"{directory}/fault.conf", text)
    run(machine, "systemctl daemon-reload")


def program(machine: Machine, path: str, script: str) -> None:
    """Put a shell script into the guest as a program."""
    run(machine, f"mkdir -p {path.rpartition('/')[0]}")
    machine.write_file(path, f"#!/bin/sh\n{script}\n")
    run(machine, f"chmod 755 {path}")


def nft(family: str, hook: str, *rules: str) -> str:
    """Return the shell command that adds these rules in a chain of their own.

    `hook` is where the chain is: type, hook and priority, as nft(8) has them.
    """
    chain = f"{family} fault rules"
    steps = [f"add table {family} fault", f"add chain {chain} {{ {hook}; }}"]
    steps += [f"add rule {chain} {rule}" for rule in rules]
    return shlex.join(["/usr/sbin/nft", "; ".join(steps)])


class LeavesTap(AlteredShell):
    """Its tap is there again after a crash, and after the VM was removed."""

    def __init__(self, inner: Shell, site: Site) -> None:
        super().__init__(inner)
        self._site = site

    @override
    def crash(self) -> None:
        super().crash()
        self._leave()

    @override
    def retire(self, deadline: Deadline) -> None:
        super().retire(deadline)
        self._leave()

    def _leave(self) -> None:
        script = layout.tap_up_script(self.tap)
        self._site.sandbox.script(script, "a tap to be left behind")
