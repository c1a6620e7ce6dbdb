"""Ways to run out of inodes, at once or deployment by deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import COLLECTOR, configure, program, run

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "inodes-within-budget"

_GROWTH = frozenset({"inode growth per cycle is within budget"})


class SmallFileSystem(Fault):
    """The store's new files go to a file system of its own, made for other things."""

    expects = must_fail(CRITERION, "bytes per inode fit a Nix store")
    scenario = "layout"
    make = ""
    fill = 0

    def inject(self, machine: Machine) -> None:
        """Put all changes under /nix on a file system of 2 GiB."""
        run(
            machine,
            f"""
            modprobe loop
            modprobe overlay
            truncate -s 2G /var/small.img
            mke2fs -q -F {self.make} /var/small.img
            mkdir -p /var/small
            mount -o loop /var/small.img /var/small
            mkdir /var/small/upper /var/small/work /var/small/fill
            cd /var/small/fill
            test {self.fill} -eq 0 || seq {self.fill} | xargs touch
            mount -t overlay overlay -o lowerdir=/nix,upperdir=/var/small/upper,\
workdir=/var/small/work /nix
            """,
        )


class FewInodes(SmallFileSystem):
    """The store's file system was made with one inode per 128 KiB."""

    name = "too-few-inodes"
    source = "mke2fs(8), -T largefile; appsandbox#125"
    make = "-i 131072"
    fast = True


class NearlyFull(SmallFileSystem):
    """Most inodes of the store's file system are in use."""

    name = "inodes-nearly-used-up"
    source = "nix#2376; ofborg/infrastructure#66"
    expects = must_fail(CRITERION, "the share of inodes in use is within budget")
    make = "-N 6000"
    fill = 4000


class OldRoot(Fault):
    """The old distribution is still there in /old-root."""

    name = "old-root-left"
    source = "nixpkgs#140385; nixos-infect (lustration)"
    expects = must_fail(CRITERION, "nothing of the old root is left")
    scenario = "layout"

    def inject(self, machine: Machine) -> None:
        """Put a tree there."""
        run(machine, "mkdir -p /old-root/usr\ncd /old-root/usr\nseq 2000 | xargs touch")


class KeepsGenerations(Fault):
    """The collector runs without -d, so old generations are never deleted."""

    name = "generations-never-collected"
    source = "nixpkgs#79109; nix#8732"
    expects = must_fail(CRITERION, *_GROWTH, "old generations are collected")
    scenario = "cycles"

    def inject(self, machine: Machine) -> None:
        """Drop the collector's arguments."""
        program(machine, COLLECTOR, "exec /usr/bin/nix-collect-garbage")


class Leak(Fault):
    """Every deployment leaves hundreds of files outside the store."""

    name = "leak-outside-the-store"
    source = "nix#16283, build logs are never deleted"
    expects = must_fail(CRITERION, *_GROWTH)
    scenario = "cycles"

    def inject(self, machine: Machine) -> None:
        """Have every activation leave files."""
        configure(
            machine,
            """{ ... }: {
  system.activationScripts.leak = ''
    directory=/var/log/leak/$(/usr/bin/date +%s%N)
    /usr/bin/mkdir -p $directory
    cd $directory
    /usr/bin/seq 900 | /usr/bin/xargs /usr/bin/touch
  '';
}
""",
        )


class NeedsRoom(Fault):
    """The collector makes files of its own first, so it cannot run when it must."""

    name = "collector-needs-inodes"
    source = "nix#2376, #16283; ofborg/infrastructure#66"
    expects = must_fail(CRITERION, "the collector works with a few inodes")
    scenario = "exhausted"

    def inject(self, machine: Machine) -> None:
        """Have it make some."""
        program(
            machine,
            COLLECTOR,
            "mkdir -p /nix/var/scratch && cd /nix/var/scratch || exit 1\n"
            "seq 500 | xargs touch || exit 1\n"
            'cd / && rm -rf /nix/var/scratch && exec /usr/bin/nix-collect-garbage "$@"',
        )


class BytesOnly(Fault):
    """The collector frees the bytes of what it deletes, but not its inodes."""

    name = "gc-frees-bytes-only"
    source = "nix#16283"
    expects = must_fail(CRITERION, *_GROWTH)
    scenario = "cycles"

    def inject(self, machine: Machine) -> None:
        """Have every collection leave as many empty files as a deployment had."""
        program(
            machine,
            COLLECTOR,
            '/usr/bin/nix-collect-garbage "$@"\nstatus=$?\n'
            "directory=/nix/var/trash/$(date +%s%N)\n"
            'mkdir -p "$directory"\ncd "$directory"\nseq 1200 | xargs touch\n'
            "exit $status",
        )
