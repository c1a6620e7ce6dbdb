"""Conversions that leave an unreachable machine, or another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import run

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "onboard-infect"
_HOME = "/usr/lib/reference/nixos"


class EditedInfect(Fault):
    """The conversion with one edit: a command of sed, on one of its files."""

    scenario = "conversion"
    file = "infect"
    edit = ""

    def inject(self, machine: Machine) -> None:
        """Edit the file, and insist that the edit changed it."""
        path = f"{_HOME}/{self.file}"
        run(
            machine,
            f"cp -p {path} /tmp/before\nsed -i '{self.edit}' {path}\n"
            f"! cmp -s /tmp/before {path}",
        )


class LustrateIgnored(EditedInfect):
    """Stage 1 ignores NIXOS_LUSTRATE, so the old system stays among the new."""

    name = "lustrate-ignored"
    source = "nixpkgs#357878, #435781; nixos-infect#267"
    expects = must_fail(
        CRITERION,
        "the old system is moved to /old-root",
        "the first boot removes the mark of the conversion",
    )
    file = "nix/build-support/stage-1.sh"
    edit = "s,etc/NIXOS_LUSTRATE,etc/NIXOS_LUSTRATE.never,"


class EmptyBoot(EditedInfect):
    """On BIOS the conversion has no name for /boot, and ends before the loader."""

    name = "empty-boot-file-system"
    source = "nixos-infect#255, #258, #261 (bootFs set under isEFI alone)"
    expects = must_fail(CRITERION, "the conversion succeeds")
    edit = (
        "s,^NIXOS_INSTALL_BOOTLOADER=1,"
        "bootFs=; mv -v $bootFs $bootFs.bak || cp -a $bootFs $bootFs.bak\\n&,"
    )


class NetworkLost(EditedInfect):
    """The configuration that the conversion writes has no address."""

    name = "no-static-network"
    source = "nixos-infect#164, #209 (makeNetworkingConf)"
    expects = must_fail(
        CRITERION,
        "ssh answers on the LAN after the first boot",
        "networking.nix has the machine's static address",
    )
    edit = "s,interfaces.eth0.ipv4.addresses = .*,interfaces.eth0.useDHCP = true;,"


class EmptyGateway(EditedInfect):
    """On a net without IPv6 the conversion writes an empty defaultGateway6."""

    name = "empty-ipv6-gateway"
    source = "nixos-infect#25 (makeNetworkingConf on a net without IPv6)"
    expects = must_fail(
        CRITERION, "no empty IPv6 gateway is configured", "the conversion succeeds"
    )
    edit = 's,^    defaultGateway = .*,&\\n    defaultGateway6 = "";,'


class HostKeysLost(EditedInfect):
    """The ssh host keys go with the old root, and sshd makes new ones."""

    name = "host-keys-put-aside"
    source = "nixos-infect#50, #107"
    expects = must_fail(CRITERION, "the machine keeps its ssh host keys")
    edit = "/for key in/,/^done/d"


class WrongDisk(EditedInfect):
    """Hardware-configuration.nix names the disk by a label that is not there."""

    name = "hardware-of-another-machine"
    source = "nixos-infect#256, #199"
    expects = must_fail(
        CRITERION, "hardware-configuration.nix names the disk's file systems"
    )
    edit = "s,/dev/disk/by-uuid/$(lsblk -no UUID .$boot.),/dev/disk/by-label/ESP,"


class OldRootKept(EditedInfect):
    """The old root's files have second names, so the clean-up frees nothing."""

    name = "old-root-has-two-names"
    source = "nixpkgs#140385 (lustration keeps files twice)"
    expects = must_fail(
        CRITERION,
        "removing /old-root frees its inodes",
        "removing /old-root frees its bytes",
    )
    file = "nix/build-support/stage-1.sh"
    edit = (
        "s,^  mv .targetRoot/old-root.tmp .targetRoot/old-root$,"
        "  cp -al $targetRoot/old-root.tmp $targetRoot/var/copy; &,"
    )


class NewIdentity(Fault):
    """The seed has another instance-id at the next boot, cloud-init starts over."""

    name = "instance-id-changed"
    source = "cloud-init#3753, #2742; srvos#148"
    expects = must_fail(
        CRITERION,
        "the old system keeps its identity after a power cut",
        "the machine keeps its ssh host keys",
    )
    scenario = "power-cut"

    def inject(self, machine: Machine) -> None:
        """Let cloud-init remember another instance than the seed has."""
        run(
            machine,
            "cd /var/lib/cloud\nrm -rf instance instances/* sem data/*\nsync",
        )
