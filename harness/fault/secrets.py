"""Ways to give a secret away, to lose it, or to make do without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import configure, drop_in, run
from harness.stage import MASTER_KEY

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "onboard-secrets"
_SECRET = "/run/secrets/acceptance"  # noqa: S105 - where it lies, not what it is


class SecretFault(Fault):
    """A NixOS module that every rebuild of the suite carries."""

    scenario = "owners"
    module = ""

    def inject(self, machine: Machine) -> None:
        """Add the module to the host's own configuration."""
        configure(machine, self.module)


class Readable(SecretFault):
    """A secret is decrypted with mode 0644, so every session can read it."""

    name = "secret-readable-by-all"
    source = "sops-nix README, Set secret permission/owner"
    expects = must_fail(CRITERION, "only owner and group can read the secret")
    module = '{ lib, ... }: { sops.secrets.acceptance.mode = lib.mkForce "0644"; }\n'


class InTheStore(SecretFault):
    """An activation script puts the plain secret into the store, for all to read."""

    name = "secret-in-the-store"
    source = "sops-nix README (all users can read the store)"
    expects = must_fail(CRITERION, "the store does not have the secret's plain text")
    module = f"""{{ ... }}: {{
  system.activationScripts.leak = ''
    [ ! -e {_SECRET} ] || /usr/bin/nix-store --add "$(readlink -f {_SECRET})" >/dev/null
  '';
}}
"""


class Unnoticed(SecretFault):
    """A secret is rotated, and the service that uses it is not restarted."""

    name = "rotation-unnoticed"
    source = "sops-nix README, Restarting/reloading systemd units on secret change"
    expects = must_fail(
        CRITERION,
        "a rotation restarts the service that reads the secret",
        "the service reads the value that was sealed",
    )
    module = (
        "{ lib, ... }: { sops.secrets.acceptance.restartUnits = lib.mkForce [ ]; }\n"
    )


class OtherHostKey(Fault):
    """The machine has made itself a new ssh host key, its secrets do not decrypt."""

    name = "host-key-regenerated"
    source = "sops-nix#955, #390; srvos#148"
    expects = must_fail(CRITERION, "the switch that deploys the secret succeeds")
    scenario = "owners"

    def inject(self, machine: Machine) -> None:
        """Make another key, as cloud-init does for an instance new to it."""
        run(
            machine,
            "rm -f /etc/ssh/ssh_host_ed25519_key*\n"
            "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key\nsync",
        )


class AnotherMasterKey(Fault):
    """Lab finds no master key and silently makes itself another one."""

    name = "lab-makes-itself-a-key"
    source = "Cloonar/coding-lab nix/module.nix (made when absent)"
    expects = must_fail(
        CRITERION,
        "lab makes no master key of its own",
        "lab does not run without its master key",
    )
    scenario = "owners"

    def inject(self, machine: Machine) -> None:
        """Have a key made before lab starts, where there is none."""
        path = f"/run/secrets/{MASTER_KEY}"
        make = f"[ -e {path} ] || base64 /etc/machine-id >{path}; chmod a+r {path}"
        unit = machine.lab.unit
        drop_in(machine, unit, f"[Service]\nExecStartPre=+/bin/sh -c '{make}'\n")
