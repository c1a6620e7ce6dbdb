"""Builder: a system's top-level store path, with the names that all NixOS systems have.

After nixpkgs nixos/modules/system/activation/top-level.nix.
"""

from __future__ import annotations

import os

from .files import derivation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAM = """\
#!{python} -ISB
import sys
sys.path[:0] = {path!r}
from nixguest import {module}
{module}.main({arguments})
"""


def build(out: str, attrs: dict[str, Any]) -> None:
    """Links to the parts, texts, and the three programs."""
    os.makedirs(f"{out}/bin")
    for name, target in attrs["links"].items():
        os.symlink(target, f"{out}/{name}")
    for name, text in attrs["texts"].items():
        _write(f"{out}/{name}", text)
    _write(f"{out}/init", attrs["init"].replace("@systemConfig@", out), executable=True)
    for name, module, arguments in (
        ("activate", "activate", repr(out)),
        ("dry-activate", "dry_activate", repr(out)),
        ("bin/switch-to-configuration", "switch", f"{out!r}, sys.argv[1:]"),
        ("bin/install-bootloader", "grub", "sys.argv[1]"),
    ):
        text = PROGRAM.format(
            python=attrs["python"],
            path=attrs["pythonPath"],
            module=module,
            arguments=arguments,
        )
        _write(f"{out}/{name}", text, executable=True)


def _write(path: str, text: str, *, executable: bool = False) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if executable:
        os.chmod(path, 0o755)


def main() -> None:
    """Entry point of the derivation."""
    attrs = derivation()
    build(attrs["outputs"]["out"], attrs)
