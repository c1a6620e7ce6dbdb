"""Programs of this computer, and the directory for what is cached here.

Every program that is run on this computer is in `PROGRAMS`; a test derives the list
from the code. Not listed: `sh` and what each system has with it (coreutils, sed, find).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs

from harness.deadline import Deadline
from harness.errors import HostError
from harness.host.release import remedy
from harness.process import run, search_path

QEMU = "qemu-system-x86_64"


IMPORT = "build it on a Debian or Ubuntu, then: harness images --import FILE"


class Need(StrEnum):
    """What a program is needed for."""

    RUN = "every run"
    IMAGE = "building the reference image"
    UNITS = "adopted units"
    MICROVM = "microvm faults"
    REPORT = "the commit in reports"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the Debian and Ubuntu package that has it, and what needs it."""

    name: str
    package: str
    need: Need = Need.RUN


PROGRAMS = (
    Program(QEMU, "qemu-system-x86"),
    Program("qemu-img", "qemu-utils"),
    Program("dnsmasq", "dnsmasq-base"),
    Program("ip", "iproute2"),
    Program("ping", "iputils-ping"),
    Program("ssh", "openssh-client"),
    Program("ssh-keygen", "openssh-client"),
    Program("ssh-keyscan", "openssh-client"),
    Program("openssl", "openssl"),
    *(
        Program(name, "util-linux")
        for name in ("unshare", "nsenter", "setpriv", "setsid")
    ),
    *(Program(name, "mount") for name in ("mount", "umount")),
    Program("mountpoint", "util-linux"),
    Program("nft", "nftables"),  # for faults of the LAN: `make accept` injects some
    Program("mmdebstrap", "mmdebstrap", Need.IMAGE),
    *(Program(name, "uidmap", Need.IMAGE) for name in ("newuidmap", "newgidmap")),
    *(Program(name, "apt", Need.IMAGE) for name in ("apt-get", "apt-config")),
    *(Program(name, "dpkg", Need.IMAGE) for name in ("dpkg", "dpkg-deb")),
    Program("gpgv", "gpgv", Need.IMAGE),
    Program("tar", "tar", Need.IMAGE),
    Program("sfdisk", "fdisk", Need.IMAGE),
    Program("systemctl", "systemd", Need.UNITS),
    Program("systemd-analyze", "systemd", Need.UNITS),
    Program("debugfs", "e2fsprogs", Need.MICROVM),
    Program("git", "git", Need.REPORT),
)
# QEMU's own of Debian 12, and its successor in Rust.
_VIRTIOFSD = (Path("/usr/lib/qemu/virtiofsd"), Path("/usr/libexec/virtiofsd"))


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


def which(name: str) -> Path | None:
    """Return where a program is, in PATH or among those of administrators."""
    found = shutil.which(name, path=search_path())
    return Path(found) if found else None


def virtiofsd() -> Path:
    """Return where virtiofsd is; distributions keep it off the PATH.

    Only microvms need one. Raises HostError.
    """
    named = which("virtiofsd")
    found = [path for path in (named, *_VIRTIOFSD) if path and os.access(path, os.X_OK)]
    if not found:
        raise HostError(
            "there is no virtiofsd, which serves a microvm's shares",
            hint=remedy("virtiofsd", "qemu-system-common or virtiofsd"),
        )
    return found[0]


def nginx() -> Path:
    """Return where nginx is: installed, or unpacked by `.ci/packages`.

    Raises HostError.
    """
    unpacked = cache_dir() / "nginx/usr/sbin/nginx"
    found = which("nginx") or (unpacked if os.access(unpacked, os.X_OK) else None)
    if found is None:
        raise HostError(
            "nginx is neither installed nor unpacked",
            hint=remedy("nginx", "nginx", debian="run .ci/packages"),
        )
    return found
