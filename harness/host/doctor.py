"""`harness doctor`: what a run needs of this computer, and how to get it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostError
from harness.host import programs
from harness.host.accelerator import PROBE_S, Accel, choose_accelerator
from harness.host.programs import Need
from harness.host.release import remedy
from harness.process import run
from harness.runtime import runtime_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.host.programs import Program


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `harness doctor`: what was examined, and how to mend it.

    Without one that is not `needed` everything works, only slower.
    """

    name: str
    ok: bool
    detail: str
    mend: str = ""
    needed: bool = True


_DISK_GIB, _BUILT_GIB, _RUN_GIB = 12, 3, 4
_MEMORY_GIB = 3
_LEAST_MEMORY_GIB = 1.5
_GIB = 1 << 30
_TRY_S = 20.0

# What a site is made of, and what permits it.
_SITE_STEPS = {
    "a private /run": ("mount -t tmpfs vma-try /run", "run as root"),
    "bridges": ("ip link add vmabr type bridge", "modprobe bridge"),
    "virtual links": ("ip link add vma0 type veth peer name vma1", "modprobe veth"),
    "network namespaces": ("ip netns add vma", "run as root"),
}
_TAP = ("taps", "ip tuntap add dev vmatap mode tap", "modprobe tun")


def examine(*, building: bool) -> list[Finding]:
    """Look at everything that a run needs; never raises for what is missing.

    `building` says that the reference image has to be built first.
    """
    able = [_kvm(), _virtiofsd(), _memory(), _python()]
    return [*_necessities(building=building), *_optional(building=building), *able]


def lacking(*, building: bool) -> list[Finding]:
    """List what is missing and without which no machine can be launched."""
    return [found for found in _necessities(building=building) if not found.ok]


def _necessities(*, building: bool) -> Iterator[Finding]:
    apt = programs.which("apt-get") is not None
    for program in programs.PROGRAMS:
        if program.need is Need.RUN or (
            building and apt and program.need is Need.IMAGE
        ):
            yield _program(program)
    if building and not apt:
        detail = "not installed: it builds the reference image, and the cache has none"
        yield Finding("apt-get", False, detail, programs.IMPORT)
    yield _nginx()
    yield _tun()
    yield from _namespaces()
    yield _room("disk", programs.cache_dir(), _DISK_GIB if building else _BUILT_GIB)
    yield _room("disk of machines", _run_directory(), _RUN_GIB)
    yield _least_memory()


def _optional(*, building: bool) -> Iterator[Finding]:
    for program in programs.PROGRAMS:
        if program.need is Need.IMAGE and building:
            continue
        if program.need is not Need.RUN:
            yield _program(program, needed=False)


def _program(program: Program, *, needed: bool = True) -> Finding:
    name, found = program.name, programs.which(program.name)
    if found is not None:
        return Finding(name, True, str(found), needed=needed)
    mend = remedy(name, program.package)
    if not needed:
        mend = f"needed for {program.need} only: {mend}"
    return Finding(name, False, "not installed", mend, needed=needed)


def _nginx() -> Finding:
    try:
        return Finding("nginx", True, str(programs.nginx()))
    except HostError as missing:
        return Finding("nginx", False, missing.summary, missing.hint)


def _tun() -> Finding:
    device = Path("/dev/net/tun")
    if not device.exists():
        return Finding(str(device), False, "missing", "modprobe tun")
    if not os.access(device, os.R_OK | os.W_OK):
        mend = f"chmod 0666 {device}, or run as root"
        return Finding(str(device), False, "no permission", mend)
    return Finding(str(device), True, "usable")


def _namespaces() -> Iterator[Finding]:
    """Try the namespaces a site is made of, and what it makes in them."""
    name = "namespaces"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--fork", "--pid", "--mount", "--mount-proc", "--net"]
    refused = _tried([*argv, "true"])
    if refused:
        yield Finding(name, False, refused, _permission())
        return
    yield Finding(name, True, "as root" if not user else "rootless")
    steps = dict(_SITE_STEPS)
    if _tun().ok:
        what, command, mend = _TAP
        steps[what] = (command, mend)
    whole = "\n".join(command for command, _ in steps.values())
    if not _tried([*argv, "sh", "-euc", whole]):
        return
    before: list[str] = []
    for what, (command, mend) in steps.items():
        script = "\n".join([*before, command])
        if refused := _tried([*argv, "sh", "-euc", script]):
            yield Finding(what, False, refused, mend)
        else:
            before.append(command)


def _tried(argv: list[str]) -> str:
    """Run a command to its end; return what it said if it failed."""
    try:
        said = run(argv, deadline=Deadline.after(_TRY_S, argv[0]))
    except (HostError, DeadlineExpired) as error:
        return error.summary
    words = " ".join(said.stderr.split())
    return "" if said.rc == 0 else words or f"exit status {said.rc}"


def _permission() -> str:
    """Say how to be permitted namespaces, by what forbids them here."""
    for setting, wanted in _SETTINGS:
        file = Path("/proc/sys") / setting.replace(".", "/")
        with suppress(OSError):
            now = file.read_text(encoding="ascii").strip()
            if (now == "0") is (wanted != "0"):
                return f"run as root, or sysctl {setting}={wanted}"
    return "run as root; a container needs CAP_SYS_ADMIN and an unmasked /proc"


# Settings that may forbid namespaces to ordinary users: Ubuntu's, Debian's, everyone's.
_SETTINGS = (
    ("kernel.apparmor_restrict_unprivileged_userns", "0"),
    ("kernel.unprivileged_userns_clone", "1"),
    ("user.max_user_namespaces", "15000"),
)


def _kvm() -> Finding:
    """Say whether guests run under KVM; without it all works, four times slower."""
    try:
        deadline = Deadline.after(3 * PROBE_S, "the KVM probe")
        found = choose_accelerator(Accel.AUTO, _host_kernel(), deadline)
    except HostError as error:
        return Finding("kvm", False, error.summary, error.hint, needed=False)
    if found.name is Accel.KVM:
        return Finding("kvm", True, found.reason)
    mend = "not needed, TCG is used; enable (nested) virtualisation to be faster"
    return Finding("kvm", False, found.reason, mend, needed=False)


def _virtiofsd() -> Finding:
    """Say whether shares can be served, which only the microvm faults need."""
    name = "virtiofsd"
    try:
        found = str(programs.virtiofsd())
    except HostError as error:
        return Finding(name, False, "not installed", error.hint, needed=False)
    if os.geteuid() != 0:
        mend = "run as root for the microvm faults"
        return Finding(name, False, "not root", mend, needed=False)
    return Finding(name, True, found)


def _host_kernel() -> Path | None:
    """Return a kernel image of this host that this user may read, the newest."""
    images = [p for p in Path("/boot").glob("vmlinuz*") if os.access(p, os.R_OK)]
    return max(images, key=lambda p: p.stat().st_mtime, default=None)


def _run_directory() -> Path:
    """Return the nearest directory that exists above those of runs."""
    place = runtime_root()
    return place if place.exists() else place.parent


def _room(name: str, place: Path, needed: float) -> Finding:
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize / _GIB
    detail = f"{free:.0f} GiB free in {place}"
    mend = f"free {needed} GiB in {place}"
    if place == programs.cache_dir():
        mend += ", or set HARNESS_CACHE to a larger file system"
    return Finding(name, free >= needed, detail, mend)


def _available() -> float:
    return psutil.virtual_memory().available / _GIB


def _least_memory() -> Finding:
    free = _available()
    mend = f"free {_LEAST_MEMORY_GIB} GiB: one machine has 1 GiB"
    detail = f"{free:.1f} GiB available"
    return Finding("memory", free >= _LEAST_MEMORY_GIB, detail, mend)


def _memory() -> Finding:
    free = _available()
    mend = f"with {_MEMORY_GIB} GiB two machines run side by side; else JOBS=1"
    detail = f"{free:.1f} GiB available"
    name = "memory for two"
    return Finding(name, free >= _MEMORY_GIB, detail, mend, needed=False)


def _python() -> Finding:
    return Finding("python", True, ".".join(map(str, sys.version_info[:3])))
