"""What this computer can do: caches, QEMU, and an accelerator that really works.

`/dev/kvm` says little. It has been seen to open, to create a VM, and never to get a
64-bit kernel to its first line; so the accelerator is chosen by booting a kernel.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, HostError
from harness.process import STDOUT, run, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

QEMU = "qemu-system-x86_64"
Choice = Literal["auto", "kvm", "tcg"]

# How many times longer a deadline is than under KVM. Measured: a Debian guest that
# boots in 8 s under KVM takes 33 s under TCG on the same two cores.
PATIENCE = {"kvm": 1.0, "tcg": 4.0}

# CPU models to try under KVM, best first: `host` is fastest, but QEMU aborts on it
# where the hypervisor below refuses one of the host CPU's MSRs.
_KVM_CPUS = ("host", "kvm64")
_KVM = Path("/dev/kvm")
# QEMU's own of Debian 12, and its successor in Rust.
_VIRTIOFSD = (Path("/usr/lib/qemu/virtiofsd"), Path("/usr/libexec/virtiofsd"))
_PROBE_S = 5.0
_FIRST_LINE = re.compile(r"Linux version \S+")
_KVM_STUCK = re.compile(r"KVM internal error.*|failed to set MSR.*|.*Assertion .*")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How QEMU runs guest code here, and why so.

    `cpu` is the CPU model that works with it; `patience` multiplies every deadline that
    was set with KVM in mind.
    """

    name: str
    reason: str
    cpu: str
    patience: float


TCG = Accelerator("tcg", "asked for", "max", PATIENCE["tcg"])


def cache_dir() -> Path:
    """Return the directory for images and stages, made for this user alone (0700).

    `$HARNESS_CACHE` overrides the platform's place for caches.
    """
    override = os.environ.get("HARNESS_CACHE")
    path = Path(override) if override else _default_cache()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _default_cache() -> Path:
    return Path(platformdirs.user_cache_dir("vm-acceptance", appauthor=False))


@functools.cache
def qemu_version() -> str:
    """Return the version of the installed QEMU, as in `7.2.22`. Raises HostError."""
    said = run([QEMU, "--version"], deadline=Deadline.after(20, f"{QEMU} --version"))
    found = re.search(r"version (\d+(?:\.\d+)+)", said.check().stdout)
    if found is None:
        raise HostError(f"cannot read the version in {said.stdout.splitlines()[:1]}")
    return found[1]


# Accelerator ------------------------------------------------------------------------


def virtiofsd() -> Path:
    """Return where virtiofsd is; distributions keep it off the PATH.

    Only the old world needs one. Raises HostError.
    """
    named = list(_which("virtiofsd"))
    found = [path for path in (*named, *_VIRTIOFSD) if os.access(path, os.X_OK)]
    if not found:
        raise HostError(
            "there is no virtiofsd, which serves the old world's shares",
            hint="apt install qemu-system-common, or virtiofsd where there is one",
        )
    return found[0]


def choose_accelerator(
    choice: Choice, kernel: Path | None, deadline: Deadline
) -> Accelerator:
    """Decide between KVM and TCG by booting `kernel` under KVM to its first line.

    `auto` falls back to TCG and says why; `kvm` never does. The answer is kept until
    the host boots again or QEMU changes. Raises HostError.
    """
    if choice == "tcg":
        return TCG
    accelerator = known_accelerator()
    if accelerator is None:
        accelerator = _probe(kernel, deadline)
        if kernel is not None:
            _remember(accelerator)
    if choice == "kvm" and accelerator.name != "kvm":
        raise HostError(
            f"no usable KVM: {accelerator.reason}",
            hint="use --accel auto or --accel tcg; it is slower, but works",
        )
    return accelerator


def known_accelerator() -> Accelerator | None:
    """Return what an earlier probe found, if the host has not booted since."""
    try:
        kept = json.loads(_answer_file().read_text())
        if kept.pop("key") != _host_key():
            return None
        return Accelerator(**kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none yet, damaged, or of another version of the harness


def _remember(accelerator: Accelerator) -> None:
    """Keep the answer; the rename makes it whole or absent for other workers."""
    target = _answer_file()
    text = json.dumps({"key": _host_key(), **asdict(accelerator)}, indent=1)
    with tempfile.NamedTemporaryFile(
        "w", dir=target.parent, prefix=".accelerator-", delete=False
    ) as partial:
        partial.write(text + "\n")
    Path(partial.name).rename(target)


def _answer_file() -> Path:
    return cache_dir() / "accelerator.json"


def _host_key() -> str:
    """Name this boot of this host, with this QEMU and this access to KVM."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot_id} {qemu_version()} {os.access(_KVM, os.R_OK | os.W_OK)}"


def _tcg(reason: str) -> Accelerator:
    return replace(TCG, reason=reason)


def _probe(kernel: Path | None, deadline: Deadline) -> Accelerator:
    if not _KVM.exists():
        return _tcg("there is no /dev/kvm")
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return _tcg("no permission to use /dev/kvm")
    if kernel is None:
        return _tcg("no kernel at hand to try KVM with")
    reasons = []
    for cpu in _KVM_CPUS:
        failure = _boots_under_kvm(kernel, cpu, deadline)
        if failure is None:
            return Accelerator(
                "kvm", f"booted a kernel with -cpu {cpu}", cpu, PATIENCE["kvm"]
            )
        reasons.append(f"-cpu {cpu}: {failure}")
    return _tcg("KVM does not boot a kernel: " + "; ".join(reasons))


def probe_argv(kernel: Path, cpu: str) -> list[str]:
    """Build the command line of the KVM probe: a kernel, a serial port, no disk."""
    # fmt: off
    return [
        QEMU,
        "-accel", "kvm", "-cpu", cpu, "-m", "256",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", "stdio",
        "-kernel", str(kernel),
        "-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1",
    ]
    # fmt: on


def _boots_under_kvm(kernel: Path, cpu: str, deadline: Deadline) -> str | None:
    """Return None if the kernel's first line came, else what was seen instead."""
    with (
        tempfile.TemporaryFile() as output,
        spawn(
            probe_argv(kernel, cpu), stdout=output, stderr=STDOUT, grace=1.0
        ) as process,
    ):

        def said() -> str:
            return os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")

        def verdict() -> str | None:
            if _FIRST_LINE.search(said()):
                return ""
            if process.poll() is not None:
                return _explain(said()) or f"QEMU ended with {process.returncode}"
            return _explain(said())

        try:
            awaited = f"the first line of a kernel under KVM (-cpu {cpu})"
            return poll(verdict, deadline.sub(_PROBE_S, awaited)) or None
        except DeadlineExpired:
            last = said().strip().splitlines()[-1:] or ["not one byte"]
            return f"no line of the kernel in {_PROBE_S:.0f} s, only: {last[0]}"


def _explain(text: str) -> str | None:
    found = _KVM_STUCK.search(text)
    return found[0].strip().removeprefix(f"{QEMU}: ") if found else None


def nginx() -> Path:
    """Find nginx: an installed one, or the one that `.ci/packages` unpacked for us.

    Raises HostError where there is none.
    """
    ours = cache_dir() / "nginx/usr/sbin/nginx"
    candidates = [*_which("nginx"), *([ours] if os.access(ours, os.X_OK) else [])]
    if not candidates:
        raise HostError("nginx is neither installed nor unpacked", hint=_GET_NGINX)
    return candidates[0]


# Doctor -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `harness doctor`: what was looked at, and how to mend it.

    Without what is not `needed`, everything works, only slower.
    """

    name: str
    ok: bool
    detail: str
    mend: str = ""
    needed: bool = True


# Program and the Debian package it comes from.
_PROGRAMS = (
    (QEMU, "qemu-system-x86"),
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
_GET_NGINX = "run .ci/packages; elsewhere than on Debian install nginx"
_DISK_GIB = 12
_MEMORY_GIB = 3
_GIB = 1 << 30


def examine() -> list[Finding]:
    """Look at everything a run needs; never raises for what is missing."""
    able = [_nginx(), _kvm(), _old_world(), _disk(), _memory(), _python()]
    return [*_necessities(), *able]


def lacking() -> list[Finding]:
    """Name what is missing here without which not one machine can be launched."""
    return [finding for finding in _necessities() if not finding.ok]


def _necessities() -> Iterator[Finding]:
    yield from (_program(name, package) for name, package in _PROGRAMS)
    yield _tun()
    yield _namespaces()


def _program(name: str, package: str) -> Finding:
    found = next(_which(name), None)
    if found is None:
        return Finding(name, False, "not installed", f"apt install {package}")
    return Finding(name, True, str(found))


def _nginx() -> Finding:
    try:
        return Finding("nginx", True, str(nginx()))
    except HostError as missing:
        return Finding("nginx", False, missing.summary, _GET_NGINX)


def _which(name: str) -> Iterator[Path]:
    """Yield where a program is; sbin too, which Debian leaves out of users' PATH."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
    for folder in folders:
        path = Path(folder) / name
        if os.access(path, os.X_OK) and path.is_file():
            yield path


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
        deadline = Deadline.after(3 * _PROBE_S, "the KVM probe")
        found = choose_accelerator("auto", _host_kernel(), deadline)
    except HostError as error:
        return Finding("kvm", False, error.summary, error.hint, needed=False)
    if found.name == "kvm":
        return Finding("kvm", True, found.reason)
    mend = "not needed, TCG is used; enable (nested) virtualisation to be faster"
    return Finding("kvm", False, found.reason, mend, needed=False)


def _old_world() -> Finding:
    """Say whether shares can be served; only `harness before-after` and its like do."""
    name = "virtiofsd"
    try:
        found = str(virtiofsd())
    except HostError as error:
        return Finding(name, False, "not installed", error.hint, needed=False)
    if os.geteuid() != 0:
        mend = "run as root for the faults of the old world"
        return Finding(name, False, "not root", mend, needed=False)
    return Finding(name, True, found)


def _host_kernel() -> Path | None:
    """Return a kernel image of this host that this user may read, the newest."""
    images = [p for p in Path("/boot").glob("vmlinuz*") if os.access(p, os.R_OK)]
    return max(images, key=lambda p: p.stat().st_mtime, default=None)


def _disk() -> Finding:
    facts = os.statvfs(cache_dir())
    free = facts.f_bavail * facts.f_frsize / _GIB
    detail = f"{free:.0f} GiB free in {cache_dir()}"
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
