"""CPU weight: QEMU in a control group of its own, as systemd gives each unit one.

`CPUWeight=` becomes `cpu.weight` where the host has the unified hierarchy with its CPU
controller, `cpu.shares` where it has the old one. A weight counts among siblings only,
so all machines of a process are put side by side in one group.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HarnessError, HostError
from harness.host import Finding
from harness.process import alive, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.site import Site

DEFAULT = 100
"""What systemd gives to a unit that says nothing."""

# Against all other load of a busy computer, so that there is something to share out.
_ALL_TOGETHER = 4 * DEFAULT
_MOUNTS = Path("/proc/self/mountinfo")
_PREFIX = "vm-acceptance-"
_REST = f"{_PREFIX}rest"
_TRIES = 10
_SYSTEMCTL_S = 10.0
_HINT = (
    "run as root with a writable /sys/fs/cgroup that has the cpu controller, or in a"
    " delegated scope: systemd-run --user --scope -p Delegate=yes …"
)
_WAYS = {
    "cgroup2": "mount -t cgroup2 cgroup2",
    "cgroup": "mount -t cgroup -o cpu cgroup",
}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted control group hierarchy with the CPU controller.

    Groups are made in `below`, a path under the mount.
    """

    mount: Path
    unified: bool
    below: str = ""

    @property
    def root(self) -> Path:
        """Where groups are made."""
        return self.mount / self.below

    def group_of(self, pid: int) -> Path:
        """Return the group that a process is in."""
        return self.mount / _own_group(pid, unified=self.unified)

    def weigh(self, group: Path, weight: int) -> None:
        """Set a group's weight, in systemd's scale of 1 to 10000."""
        if self.unified:
            (group / "cpu.weight").write_text(str(weight))
        else:
            (group / "cpu.shares").write_text(str(max(2, weight * 1024 // DEFAULT)))

    def weight_of(self, group: Path) -> int:
        """Read a group's weight back, in systemd's scale; the root's is everyone's."""
        file = group / ("cpu.weight" if self.unified else "cpu.shares")
        if not file.exists():
            return DEFAULT
        number = int(file.read_text())
        return number if self.unified else round(number * DEFAULT / 1024)

    def open(self) -> None:
        """Have groups below weigh anything. Raises OSError where we may not."""
        if self.unified:
            if (self.root / "cgroup.type").exists():
                make_room(self.root, top=not self.below)
            _hand_out(self.root)
        probe = self.root / f"{_PREFIX}probe-{os.getpid()}"
        probe.mkdir()
        try:
            self.weigh(probe, DEFAULT)
        finally:
            probe.rmdir()


@contextmanager
def weighed(site: Site, name: str, pid: int, weight: int) -> Iterator[Path]:
    """Hold a process and all its threads to a CPU weight for the length of the `with`.

    Yields its group. Raises HostError where this computer permits no groups.
    """
    hierarchy = find(site)
    sweep(hierarchy.root)
    parent = hierarchy.root / f"{_PREFIX}{os.getpid()}"
    group = parent / name
    with ExitStack() as stack:
        parent.mkdir(exist_ok=True)
        stack.callback(_remove, parent)
        if hierarchy.unified:
            _hand_out(parent)
        hierarchy.weigh(parent, _ALL_TOGETHER)
        group.mkdir()
        stack.callback(_remove, group)
        hierarchy.weigh(group, weight)
        stack.callback(_move, pid, hierarchy.group_of(pid))
        (group / "cgroup.procs").write_text(str(pid))
        yield group


def weight_of(site: Site, pid: int) -> int:
    """Return the weight of the group that a process is in, as the kernel has it."""
    hierarchy = find(site)
    return hierarchy.weight_of(hierarchy.group_of(pid))


def find(site: Site) -> Hierarchy:
    """Find a hierarchy that we may make groups in; HostError says what was tried.

    What is mounted comes first, then a mount of our own that is not seen outside the
    site: a container's own view is often read-only.
    """
    refused: list[str] = []
    for hierarchy in (*mounted(_MOUNTS.read_text()), *_private(site, refused)):
        try:
            hierarchy.open()
        except OSError as error:
            refused.append(f"{hierarchy.root}: {error.strerror}")
        else:
            return hierarchy
    raise HostError(
        "CPU weights cannot be set on this computer: " + "; ".join(refused),
        hint=_HINT,
    )


def finding() -> Finding:
    """Say for `harness doctor` where weights can be set; one test alone needs them."""
    for hierarchy in mounted(_MOUNTS.read_text()):
        with suppress(OSError):
            hierarchy.open()
            return Finding("CPU weights", True, str(hierarchy.root))
    mend = f"the test of cpuWeight will be broken unless a site can help: {_HINT}"
    return Finding("CPU weights", False, "no writable cgroup", mend, needed=False)


def mounted(mountinfo: str) -> list[Hierarchy]:
    """List the mounted hierarchies with a CPU controller, the unified one first."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4])
        kind, _, options = after.split()[:3]
        if kind == "cgroup" and "cpu" in options.split(","):
            found.append(Hierarchy(mount, unified=False))
        elif kind == "cgroup2" and _has_cpu(mount):
            # Somebody who may not work at the top may have been given a part of it.
            own = _own_group(os.getpid(), unified=True)
            own = own.removesuffix(_REST).rstrip("/")
            found.insert(0, Hierarchy(mount, unified=True))
            found.insert(1, Hierarchy(mount, unified=True, below=own))
    return list(dict.fromkeys(found))


def make_room(group: Path, *, top: bool) -> None:
    """Move the processes of a group that was given to us into one of its own below.

    The kernel lets no process stay in a group that shares something out to others:
    cgroups(7), "no internal processes". Its very root is exempt and has no cgroup.type.
    The `top` of what a container sees is its own; any other group has to be delegated.
    Raises OSError where it is not ours to divide.
    """
    processes, rest = group / "cgroup.procs", group / _REST
    if not processes.read_text():
        return
    if not (top or delegated(group)):
        raise OSError(errno.EBUSY, "has processes and was not delegated")
    rest.mkdir(exist_ok=True)
    for _ in range(_TRIES):
        for pid in processes.read_text().split():
            _move(int(pid), rest)
        if not processes.read_text():
            return
    raise OSError(errno.EBUSY, "new processes appear faster than they can be moved")


def delegated(group: Path) -> bool:
    """Whether systemd says that a unit's group is its user's to divide: Delegate=."""
    manager = "--user" if f"user@{os.getuid()}.service" in group.parts else "--system"
    show = ["systemctl", manager, "show", "--value", "-p", "Delegate", "--", group.name]
    with suppress(HarnessError):
        done = run(show, deadline=Deadline.after(_SYSTEMCTL_S, show[0]))
        return done.stdout.strip() == "yes"
    return False


def sweep(root: Path) -> None:
    """Remove the groups of processes that ended without a chance to do so."""
    for parent in root.glob(f"{_PREFIX}[0-9]*"):
        owner = parent.name.removeprefix(_PREFIX)
        if owner.isdigit() and not alive(int(owner)):
            for group in [*parent.iterdir(), parent]:
                if group.is_dir():
                    _remove(group)


def _private(site: Site, refused: list[str]) -> Iterator[Hierarchy]:
    inside = Path(f"/proc/{site.sandbox.pid}/root")
    for kind, command in _WAYS.items():
        place = Path("/run") / kind
        script = f"mkdir -p {place}; mountpoint -q {place} || {command} {place}"
        try:
            site.sandbox.script(script, f"a {kind}")
        except HarnessError as error:
            refused.append(f"{command}: {' '.join(error.evidence[-1:])}")
            continue
        root = inside / place.relative_to("/")
        if kind == "cgroup" or _has_cpu(root):
            yield Hierarchy(root, unified=kind == "cgroup2")
        else:
            refused.append(f"{command}: has no CPU controller")


def _has_cpu(root: Path) -> bool:
    with suppress(OSError):
        return "cpu" in (root / "cgroup.controllers").read_text().split()
    return False


def _hand_out(group: Path) -> None:
    """Let the children of a group have weights."""
    control = group / "cgroup.subtree_control"
    if "cpu" not in control.read_text().split():
        control.write_text("+cpu")


def _own_group(pid: int, *, unified: bool) -> str:
    """Read where a process is in a hierarchy, relative to the mount's root."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if unified != bool(controllers) and (
            unified or "cpu" in controllers.split(",")
        ):
            return path.lstrip("/")
    return ""


def _move(pid: int, group: Path) -> None:
    # A process that has ended is in no group any more.
    with suppress(OSError):
        (group / "cgroup.procs").write_text(str(pid))


def _remove(group: Path) -> None:
    # The last machine to leave removes the parent; one that is in use stays.
    with suppress(OSError):
        group.rmdir()
