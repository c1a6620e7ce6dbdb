"""Ways for a pull to do too little, too much, or to say that all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import configure, drop_in, run

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "bento-pull"
_UNIT = "bento-upgrade.service"
_SCRIPT = "/usr/local/fault/bento"


class EditedBento(Fault):
    """Bento's own script with one edit; `edit` is a command of sed."""

    edit = ""

    def inject(self, machine: Machine) -> None:
        """Copy the script that the unit runs, edit it, and have the unit run that."""
        run(
            machine,
            f"mkdir -p {_SCRIPT.rpartition('/')[0]}\n"
            f"script=$(systemctl show -P ExecStart {_UNIT} |"
            " grep -o '/nix/store/[^ ;]*' | head -n 1)\n"
            f'sed "{self.edit}" "$script" >{_SCRIPT}\n'
            f'! cmp -s "$script" {_SCRIPT}\n'
            f"chmod 755 {_SCRIPT}",
        )
        drop_in(machine, _UNIT, f"[Service]\nExecStart=\nExecStart={_SCRIPT}\n")


class CallsItSuccess(EditedBento):
    """Bento ends with success although the switch failed."""

    name = "bento-hides-failure"
    source = "rapenne-s/bento bootstrap.sh (exit status of tee)"
    expects = must_fail(
        CRITERION,
        "a pull that deploys nothing fails its unit",
        "a pull that deploys nothing is among the failed units",
    )
    scenario = "bad-configuration"
    edit = "s/nixos-rebuild switch/& || :/"


class NeverRetries(EditedBento):
    """Bento remembers a change as applied before it has applied it."""

    name = "bento-never-retries"
    source = "rapenne-s/bento update.sh (.state is written in any case)"
    expects = must_fail(
        CRITERION,
        "a configuration that cannot be built is tried again",
        "a failed pull does not count as applied",
    )
    scenario = "bad-configuration"
    edit = (
        "/^cp -RT/i mv incoming/last_change_date state; touch incoming/last_change_date"
    )


class RollsBack(EditedBento):
    """Bento rolls back when it cannot reach its server."""

    name = "bento-rolls-back"
    source = "rapenne-s/bento bootstrap.sh (rollback if something is wrong)"
    expects = must_fail(
        CRITERION, "a pull that deploys nothing leaves the generation running"
    )
    scenario = "bad-configuration"
    edit = "s,exit 75,/run/current-system/sw/bin/nixos-rebuild switch --rollback; &,"


class Reboots(EditedBento):
    """Bento reboots the machine because there is a file named REBOOT."""

    name = "bento-reboots"
    source = "rapenne-s/bento bootstrap.sh (a file named REBOOT)"
    expects = must_fail(CRITERION, "a pull does not reboot the host")
    scenario = "deploy"
    edit = "$ a [ ! -e incoming/config/REBOOT ] || systemctl reboot"


class RestartsItself(Fault):
    """Bento's own unit changes, so the switch that it runs stops it half-way."""

    name = "bento-killed-by-its-switch"
    source = "rapenne-s/bento utils/bento.nix; nixpkgs#39118"
    expects = must_fail(CRITERION, "a pull survives the switch that it runs")
    scenario = "deploy"

    def inject(self, machine: Machine) -> None:
        """Let the unit be restarted when it changes, as units are."""
        configure(
            machine,
            "{ lib, ... }: { systemd.services.bento-upgrade.restartIfChanged ="
            " lib.mkForce true; }\n",
        )


class ServerKeyChanged(Fault):
    """The fleet server has another host key than is known, so pulls stop."""

    name = "fleet-host-key-changed"
    source = "rapenne-s/bento update.sh (scans keys of new addresses alone)"
    expects = must_fail(CRITERION, "a pull fetches and builds what the server has")
    scenario = "deploy"
    machines = frozenset({"old"})

    def inject(self, machine: Machine) -> None:
        """Have sshd use another key than the one that lies where people look."""
        key = "/etc/ssh/moved_ed25519_key"
        run(machine, f"ssh-keygen -q -t ed25519 -N '' -f {key}")
        machine.write_file("/etc/ssh/sshd_config.d/fault.conf", f"HostKey {key}\n")
