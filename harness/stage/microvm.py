"""A microvm made out of a stage: the files of its host, extracted from the guest.

There is no NixOS that could be the host, so the guest's own system is used: its store
becomes the host's, its kernel and initrd what the host boots, and everything of it that
is neither store nor base a small root file system, as a microvm has one.
"""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.process import run
from harness.qemu import microvm as command
from harness.shell import HostSystem, microvm

if TYPE_CHECKING:
    from harness.deadline import Deadline
    from harness.machine import Machine

NAME = "microvm"
"""The name of the cached state that a host's system is."""

_INIT = Path(command.__file__).with_name("microvm-init.sh")
_IMAGE = "/microvm.img"
_EXTRACT_S = 120.0
_SECTOR = 512

# The host has no partition for the guest's boot loader, and stage 1 needs two drivers
# more: what microvm.nix's module changes in the guest's configuration.
_CONFIGURE = r"""
file=/etc/nixos/hardware-configuration.nix
sed -i -e '/fileSystems\."\/boot"/d' \
    -e '/availableKernelModules/s/ \];/ "virtiofs" "overlay" ];/' "$file"
grep -q '"virtiofs" "overlay"' "$file"
! grep -q /boot "$file"
"""

# Small as `microvm.volumes` has it, and with few inodes: nobody thought of a store when
# that disk was made. The UUID is the real root's, by which the guest's fstab names it.
_MAKE_ROOT = r"""
PATH=/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/usr/sbin
cd /
modprobe loop
uuid=$(blkid -p -s UUID -o value "$(findmnt -no SOURCE /)")
truncate -s 2G /microvm.img
mke2fs -q -F -t ext4 -i 131072 -L root -U "$uuid" /microvm.img
mkdir -p /run/microvm
mount -o loop /microvm.img /run/microvm
for name in *; do
    case $name in
    microvm.img | nix | usr | dev | proc | run | sys | tmp | mnt | lost+found) ;;
    *) cp -a "$name" /run/microvm/ ;;
    esac
done
cd /run/microvm
mkdir -p dev proc run sys mnt usr nix/store nix/.ro-store
mkdir -p nix/.rw-store/store nix/.rw-store/work
mkdir -m 1777 tmp
cp -a /nix/var nix/
cd /
umount /run/microvm
sync
"""

# A tool that somebody on the host built once, for a shell: no root keeps it.
_TOOL = (
    '(import <nixpkgs> { }).writeShellScriptBin "devshell-tool"'
    ' "while :; do /usr/bin/sleep 3600; done"'
)
_BUILD_TOOL = f"""
PATH=/run/current-system/sw/bin:/usr/bin
HOME=/root nix-build --no-out-link -E '{_TOOL}'
"""

_DESCRIBE = r"""
PATH=/run/current-system/sw/bin:/usr/bin
system=$(readlink -f /nix/var/nix/profiles/system)
echo "$system"
readlink -f "$system/kernel"
readlink -f "$system/initrd"
cat "$system/kernel-params"
echo
nix-store -qR "$system"
"""


def digest(saved: Path) -> str:
    """Digest what a host's system is made of: a saved stage, and this code."""
    made = sha256(saved.name.encode())
    for source in (__file__, microvm.__file__, command.__file__, _INIT):
        made.update(Path(source).read_bytes())
    return made.hexdigest()[:16]


def export(machine: Machine, home: Path) -> None:
    """Make the host's system in `home` out of a running machine, which it ends."""
    _run(machine, _CONFIGURE)
    built = machine.system.rebuild("boot")
    if not built.succeeded:
        raise HarnessError(
            f"{machine.name}: no system without a boot loader's partition",
            seen=f"exit status {built.rc}",
            evidence=built.output.splitlines()[-30:],
        )
    tool = _run(machine, _BUILD_TOOL).split()[-1]
    system, kernel, initrd, params, *rest = _run(machine, _DESCRIBE).splitlines()
    _run(machine, _MAKE_ROOT, timeout=300)
    # A frozen file system has an empty journal: what is on the disk is all of it.
    _run(machine, "/usr/sbin/fsfreeze --freeze /")
    machine.crash()
    deadline = machine.deadline(_EXTRACT_S, "the host's files to be extracted")
    _extract(machine.disk, home, deadline)
    shutil.copyfile(_below(home, kernel), home / "kernel")
    archive = _below(home, initrd).read_bytes()
    (home / "initrd").write_bytes(command.with_init(archive, _INIT.read_bytes()))
    rooted = tuple(Path(path).name for path in rest if path)
    host = HostSystem(home=home, system=system, params=params, tool=tool, rooted=rooted)
    host.write()


def _run(machine: Machine, script: str, timeout: float = 120.0) -> str:
    done = machine.sh(f"set -e\n{script}", timeout=timeout)
    if not done.succeeded:
        raise HarnessError(
            f"{machine.name}: cannot be turned into a microvm",
            seen=f"exit status {done.rc}",
            evidence=done.output.splitlines()[-20:],
        )
    return done.stdout


def _below(home: Path, path: str) -> Path:
    """Return where a file of the guest's store lies now."""
    return home / "store" / Path(path).relative_to("/nix/store")


def _extract(disk: Path, home: Path, deadline: Deadline) -> None:
    """Take store, base and the small root out of the guest's disk, without mounting."""
    raw = disk.with_name("disk.raw")
    root = disk.with_name("root.raw")
    convert = ["qemu-img", "convert"]
    run([*convert, "-O", "raw", str(disk), str(raw)], deadline=deadline).check()
    image = f"{raw}?offset={_root_offset(raw, deadline)}"
    for command_line in (
        f'dump {_IMAGE} "{root}"',
        f'rdump /nix/store "{home}"',
        f'rdump /usr "{home}"',
    ):
        _debugfs(image, command_line, deadline)
    qcow2 = [*convert, "-f", "raw", "-O", "qcow2", str(root), str(home / "root.qcow2")]
    run(qcow2, deadline=deadline).check()
    raw.unlink()
    root.unlink()


def _root_offset(raw: Path, deadline: Deadline) -> int:
    """Return where the last partition, which is the root's, begins; in bytes."""
    said = run(["sfdisk", "--json", str(raw)], deadline=deadline).check().stdout
    table = json.loads(said)["partitiontable"]
    return int(table["partitions"][-1]["start"]) * _SECTOR


def _debugfs(image: str, command_line: str, deadline: Deadline) -> None:
    """Run one command of debugfs, which reports failure only by its words."""
    done = run(["debugfs", "-R", command_line, image], deadline=deadline).check()
    said = [x for x in done.stderr.splitlines() if x and not x.startswith("debugfs ")]
    if said:
        raise HarnessError(f"debugfs could not {command_line}", evidence=said[-10:])
