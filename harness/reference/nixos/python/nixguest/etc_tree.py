"""Builder: everything of a generation's /etc, with its unit directory, in one go.

NixOS makes a derivation per file and per unit (nixos/modules/system/etc/etc.nix,
nixos/lib/systemd-lib.nix generateUnits). One process for all is what emulation allows;
the tree that comes out has the same shape.
"""

from __future__ import annotations

import os

from .files import derivation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _link(target: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.lexists(path):
        os.symlink(target, path)


def write_units(
    directory: str, units: dict[str, dict[str, Any]], upstream: str, names: list[str]
) -> None:
    """Write the unit directory: upstream's units by link, ours as files or drop-ins.

    A unit that upstream ships too is only overridden, in `NAME.d/overrides.conf`.
    """
    os.makedirs(directory)
    for name in names:
        _link(f"{upstream}/{name}", f"{directory}/{name}")
    for name, unit in units.items():
        if unit["enable"]:
            _unit(directory, name, unit)
            continue
        if os.path.lexists(f"{directory}/{name}"):
            os.unlink(f"{directory}/{name}")
        os.symlink("/dev/null", f"{directory}/{name}")


def _unit(directory: str, name: str, unit: dict[str, Any]) -> None:
    """One unit with the links that others pull it in by."""
    path = f"{directory}/{name}"
    if unit["text"]:
        _write(f"{path}.d/overrides.conf" if unit["overrides"] else path, unit["text"])
    for kind in ("wants", "requires", "upholds"):
        for target in unit[kind]:
            _link(f"../{name}", f"{directory}/{target}.{kind}/{name}")
    for alias in unit["aliases"]:
        _link(name, f"{directory}/{alias}")


def build(out: str, attrs: dict[str, Any]) -> None:
    """Write `out`/etc and `out`/units."""
    for name, entry in attrs["files"].items():
        path = f"{out}/etc/{name}"
        if entry["source"] is not None:
            _link(entry["source"], path)
        else:
            _write(path, entry["text"])
        if entry["mode"] != "symlink":
            _write(f"{path}.mode", entry["mode"])
    write_units(
        f"{out}/units", attrs["units"], attrs["upstream"], attrs["upstreamUnits"]
    )
    _link("../../units", f"{out}/etc/systemd/system")


def main() -> None:
    """Entry point of the derivation."""
    attrs = derivation()
    build(attrs["outputs"]["out"], attrs)
