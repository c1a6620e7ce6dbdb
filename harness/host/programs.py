"""Programs of this computer, and the directory for what is cached here."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from harness.deadline import Deadline
from harness.errors import HostError
from harness.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator

QEMU = "qemu-system-x86_64"
GET_NGINX = "run .ci/packages; elsewhere than on Debian install nginx"
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


def which(name: str) -> Iterator[Path]:
    """Yield the places of a program; sbin too, which Debian's users have no PATH to."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
    for folder in folders:
        path = Path(folder) / name
        if os.access(path, os.X_OK) and path.is_file():
            yield path


def virtiofsd() -> Path:
    """Return where virtiofsd is; distributions keep it off the PATH.

    Only microvms need one. Raises HostError.
    """
    named = list(which("virtiofsd"))
    found = [path for path in (*named, *_VIRTIOFSD) if os.access(path, os.X_OK)]
    if not found:
        raise HostError(
            "there is no virtiofsd, which serves a microvm's shares",
            hint="apt install qemu-system-common, or virtiofsd where there is one",
        )
    return found[0]


def nginx() -> Path:
    """Return where nginx is: installed, or unpacked by `.ci/packages`.

    Raises HostError.
    """
    unpacked = cache_dir() / "nginx/usr/sbin/nginx"
    candidates = [
        *which("nginx"),
        *([unpacked] if os.access(unpacked, os.X_OK) else []),
    ]
    if not candidates:
        raise HostError("nginx is neither installed nor unpacked", hint=GET_NGINX)
    return candidates[0]
