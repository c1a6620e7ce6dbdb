"""Where Debian packages come from: this computer's own apt configuration.

A computer in a closed network reaches Debian through the sources that its
administrator wrote into apt's settings; no other host is asked. Ubuntu's apt knows no
Debian mirror, so there `$HARNESS_DEBIAN_MIRROR` names one. Debian's keys are those that
are installed, or come by apt from the package that Debian and Ubuntu have for them, and
apt verifies that: keys are never taken from a mirror that they are to verify.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HostError
from harness.host import cache_dir
from harness.host.programs import IMPORT, which
from harness.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.deadline import Deadline

OVERRIDE = "HARNESS_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_PACKAGE = "debian-archive-keyring"
_KEPT = "usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)"
_PLANNED = re.compile(
    r"^'(?P<uri>\w+://[^/']+(?P<path>[^']*?))/dists/(?P<suite>[a-z]+)/main/",
    re.MULTILINE,
)
_CODE_NAMES = frozenset({"bullseye", "bookworm", "trixie", "forky", "duke", "sid"})
_PROXIES = ("Acquire::http::Proxy", "Acquire::https::Proxy")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive, Debian's keys, and apt's settings for the way to it."""

    uri: str
    keyring: Path = KEYRING
    apt_options: tuple[str, ...] = ()


def find_mirror(environ: Mapping[str, str], deadline: Deadline) -> Mirror:
    """Return the Debian mirror that apt uses here, or the one in `environ`.

    Raises HostError when apt knows none, or when Debian's keys cannot be had.
    """
    if which("apt-config") is None:
        raise HostError("the reference image cannot be built without apt", hint=IMPORT)
    keyring = find_keyring(deadline)
    uri = environ.get(OVERRIDE) or _ask_apt(deadline)
    said = run(["apt-config", "dump", "--no-empty", *_PROXIES], deadline=deadline)
    options = tuple(parse_proxies(said.check().stdout))
    return Mirror(uri.rstrip("/"), keyring, options)


def find_keyring(deadline: Deadline) -> Path:
    """Return Debian's keys: installed, or unpacked into the cache from their package.

    Raises HostError.
    """
    unpacked = cache_dir() / _PACKAGE
    kept = unpacked / _KEPT
    for found in (KEYRING, kept):
        if found.is_file():
            return found
    with tempfile.TemporaryDirectory(prefix=".keys-", dir=cache_dir()) as name:
        place = Path(name)
        # As root apt would warn that its own user cannot write here.
        argv = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", _PACKAGE]
        said = run(argv, cwd=place, deadline=deadline)
        for deb in place.glob("*.deb"):
            unpack = ["dpkg-deb", "-x", str(deb), str(place / "tree")]
            run(unpack, deadline=deadline).check()
            with suppress(OSError):  # another run was faster
                (place / "tree").rename(unpacked)
    if kept.is_file():
        return kept
    why = " ".join(f"{said.stdout} {said.stderr}".split()) or "apt has none"
    raise HostError(
        f"Debian's keys are not installed: {KEYRING} does not exist, and apt cannot"
        f" download {_PACKAGE}: {why}",
        hint=f"apt install {_PACKAGE}; on Ubuntu it is in universe",
    )


def _ask_apt(deadline: Deadline) -> str:
    targets = run(["apt-get", "indextargets", "--format", _FORMAT], deadline=deadline)
    planned = run(
        ["apt-get", "-o", "Debug::NoLocking=1", "--print-uris", "update"],
        deadline=deadline,
    )
    uris = parse_targets(targets.check().stdout) or parse_update(planned.stdout)
    if not uris:
        raise HostError(
            "no Debian mirror in this computer's apt configuration",
            hint=f"name a mirror: export {OVERRIDE}=http://…/debian; a Debian has one"
            " in /etc/apt, an Ubuntu has none",
        )
    return uris[0]


def parse_targets(text: str) -> list[str]:
    """Return the Debian archives in what `apt-get indextargets` printed, in order."""
    rows = [line.split("|") for line in text.splitlines()]
    found = [uri for uri, *facts in rows if facts == ["Debian", "Debian", "main"]]
    return list(dict.fromkeys(found))


def parse_update(text: str) -> list[str]:
    """Return the Debian archives in what `apt-get --print-uris update` printed.

    Before the first update apt does not know whose archive it is. Debian's code names
    identify it, and so does the path where a suite is only called `stable`.
    """
    found = [
        match["uri"]
        for match in _PLANNED.finditer(text)
        if match["suite"] in _CODE_NAMES or "debian" in match["path"]
    ]
    return sorted(dict.fromkeys(found), key=lambda uri: "debian" not in uri)


def parse_proxies(text: str) -> list[str]:
    """Return apt's proxy settings from `apt-config dump`, as apt.conf lines."""
    return [line for line in text.splitlines() if line.startswith(_PROXIES)]


__all__ = ["KEYRING", "OVERRIDE", "Mirror", "find_mirror", "parse_targets"]
