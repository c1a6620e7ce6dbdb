"""Where Debian packages come from: this computer's own apt configuration.

A computer in a closed network reaches Debian through the sources that its
administrator wrote into apt's settings; no other host is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HostError
from harness.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.deadline import Deadline

OVERRIDE = "HARNESS_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)"
_PLANNED = re.compile(
    r"^'(?P<uri>\w+://[^/']+(?P<path>[^']*?))/dists/(?P<suite>[a-z]+)/main/",
    re.MULTILINE,
)
_CODE_NAMES = frozenset({"bullseye", "bookworm", "trixie", "forky", "duke", "sid"})
_PROXIES = ("Acquire::http::Proxy", "Acquire::https::Proxy")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive, and apt's settings for the way to it."""

    uri: str
    apt_options: tuple[str, ...] = ()


def find_mirror(environ: Mapping[str, str], deadline: Deadline) -> Mirror:
    """Return the Debian mirror that apt uses here, or the one in `environ`.

    Raises HostError when apt knows none, or when Debian's keys are not installed.
    """
    if not KEYRING.exists():
        raise HostError(
            f"Debian's keys are not installed: {KEYRING} does not exist",
            hint="install the package debian-archive-keyring",
        )
    uri = environ.get(OVERRIDE) or _ask_apt(deadline)
    said = run(["apt-config", "dump", "--no-empty", *_PROXIES], deadline=deadline)
    return Mirror(uri.rstrip("/"), tuple(parse_proxies(said.check().stdout)))


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
            hint=f"add a Debian source to /etc/apt, or name a mirror in ${OVERRIDE}",
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
