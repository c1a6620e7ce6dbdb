"""`harness doctor`: what a run needs of this computer, and how to get it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostError
from harness.host import programs
from harness.host.accelerator import PROBE_S, Accel, choose_accelerator
from harness.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator


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


# Program and the Debian package it comes from.
PROGRAMS = (
    (programs.QEMU, "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("dnsmasq", "dnsmasq-base"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("openssl", "openssl"),
)
_DISK_GIB = 12
_MEMORY_GIB = 3
_GIB = 1 << 30


def examine() -> list[Finding]:
    """Look at everything that a run needs; never raises for what is missing."""
    able = [_nginx(), _kvm(), _virtiofsd(), _disk(), _memory(), _python()]
    return [*_necessities(), *able]


def lacking() -> list[Finding]:
    """List what is missing and without which no machine can be launched."""
    return [finding for finding in _necessities() if not finding.ok]


def _necessities() -> Iterator[Finding]:
    yield from (_program(name, package) for name, package in PROGRAMS)
    yield _tun()
    yield _namespaces()


def _program(name: str, package: str) -> Finding:
    found = next(programs.which(name), None)
    if found is None:
        return Finding(name, False, "not installed", f"apt install {package}")
    return Finding(name, True, str(found))


def _nginx() -> Finding:
    try:
        return Finding("nginx", True, str(programs.nginx()))
    except HostError as missing:
        return Finding("nginx", False, missing.summary, programs.GET_NGINX)


def _tun() -> Finding:
    device = Path("/dev/net/tun")
    if not device.exists():
        return Finding(str(device), False, "missing", "modprobe tun")
    if not os.access(device, os.R_OK | os.W_OK):
        mend = f"chmod 0666 {device}, or run as root"
        return Finding(str(device), False, "no permission", mend)
    return Finding(str(device), True, "usable")


def _namespaces() -> Finding:
    """Try the namespaces a site is made of, in the way a site makes them."""
    name = "namespaces"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--fork", "--pid", "--mount", "--mount-proc", "--net"]
    try:
        said = run([*argv, "true"], deadline=Deadline.after(10, "unshare"))
    except (HostError, DeadlineExpired) as error:
        return Finding(name, False, error.summary, "apt install util-linux")
    if said.rc != 0:
        mend = "run as root, or sysctl kernel.unprivileged_userns_clone=1"
        return Finding(name, False, said.stderr.strip(), mend)
    return Finding(name, True, "as root" if not user else "rootless")


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


def _disk() -> Finding:
    facts = os.statvfs(programs.cache_dir())
    free = facts.f_bavail * facts.f_frsize / _GIB
    detail = f"{free:.0f} GiB free in {programs.cache_dir()}"
    mend = f"free {_DISK_GIB} GiB, or set HARNESS_CACHE to a larger file system"
    return Finding("disk", free >= _DISK_GIB, detail, mend)


def _memory() -> Finding:
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    free = int(found[1]) * 1024 / _GIB if found else 0.0
    mend = f"{_MEMORY_GIB} GiB available memory run two machines side by side"
    return Finding("memory", free >= _MEMORY_GIB, f"{free:.1f} GiB available", mend)


def _python() -> Finding:
    return Finding("python", True, ".".join(map(str, sys.version_info[:3])))
