"""Which system this computer runs, as far as remedies differ."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

_RELEASE = Path("/etc/os-release")


class Distribution(StrEnum):
    """How programs get onto this computer."""

    DEBIAN = "apt"
    NIXOS = "nix"
    OTHER = "other"


def distribution() -> Distribution:
    """Read which system this is from os-release(5)."""
    try:
        lines = _RELEASE.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Distribution.OTHER
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    named = f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}"
    words = set(re.findall(r"[\w.-]+", named.lower()))
    if "nixos" in words:
        return Distribution.NIXOS
    return Distribution.DEBIAN if {"debian", "ubuntu"} & words else Distribution.OTHER


def remedy(program: str, package: str, *, debian: str = "") -> str:
    """Say how to get a program that Debian has in `package`, there as `debian` says."""
    match distribution():
        case Distribution.DEBIAN:
            return debian or f"apt install {package}"
        case Distribution.NIXOS:
            return "nix-shell, in the checkout: its shell.nix has every program"
        case Distribution.OTHER:
            return f"install what provides {program} ({package} on Debian)"
