"""`shell.nix`: every program of a run but those that need apt, where Nix can say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.host.programs import PROGRAMS, Need
from harness.process import run
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
# What a package of nixpkgs has of the programs that the harness runs.
HAS = {
    "qemu": ["qemu-system-x86_64", "qemu-img"],
    "dnsmasq": ["dnsmasq"],
    "iproute2": ["ip"],
    "iputils": ["ping"],
    "nftables": ["nft"],
    "openssh": ["ssh", "ssh-keygen", "ssh-keyscan"],
    "openssl": ["openssl"],
    "util-linux": [
        *("unshare", "nsenter", "setpriv", "setsid"),
        *("mount", "umount", "mountpoint", "sfdisk"),
    ],
    "systemd": ["systemctl", "systemd-analyze"],
    "e2fsprogs": ["debugfs"],
    "git": ["git"],
}
OTHERS = {"python3", "gnumake", "bash", "virtiofsd", "nginx"}
FOR_TESTS = {"shellcheck", "tmux", "dpkg"}
# nixpkgs as far as shell.nix uses it: a package is its name.
NIXPKGS = """
{{ }}: builtins.listToAttrs (map (name: {{ inherit name; value = name; }}) {names})
// {{
  mkShell = shell: shell.packages;
  lib.makeLibraryPath = libraries: builtins.toString libraries;
  stdenv.cc.cc.lib = "lib";
  zlib = "zlib";
}}
"""


def test_it_has_every_program_that_does_not_need_apt(tmp_path: Path) -> None:
    """Evaluated by Nix itself, with a stand-in for nixpkgs."""
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed")
    names = {*HAS, *OTHERS, *FOR_TESTS}
    quoted = " ".join(f'"{name}"' for name in sorted(names))
    (tmp_path / "default.nix").write_text(NIXPKGS.format(names=f"[ {quoted} ]"))
    argv = ["nix-instantiate", "--eval", "--strict", "--json"]
    argv += [
        "--expr",
        f"import {ROOT}/shell.nix {{ }}",
        "-I",
        f"nixpkgs={tmp_path}",
        "--store",
        f"dummy://{tmp_path}",
    ]
    said = run(argv, deadline=patient(30, "an evaluation")).check()
    listed = json.loads(said.stdout)
    assert set(listed) == names
    assert len(listed) == len(names)


def test_no_program_is_left_out_of_it() -> None:
    """Those that build an image need apt, which NixOS has not."""
    text = (ROOT / "shell.nix").read_text()
    given = [has for package, has in HAS.items() if f"pkgs.{package}" in text]
    there = {program for has in given for program in has}
    needed = {p.name for p in PROGRAMS if p.need is not Need.IMAGE}
    assert needed <= there


def test_nothing_that_make_runs_needs_a_program_at_a_fixed_place() -> None:
    """NixOS has /bin/sh and /usr/bin/env, and nothing else there."""
    files = [ROOT / "Makefile", *(ROOT / ".ci").iterdir()]
    for file in files:
        text = file.read_text().replace("#!/usr/bin/env bash", "")
        assert "/bin/bash" not in text, file
        assert "/usr/bin/" not in text, file
