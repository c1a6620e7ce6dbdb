"""Unit files: parsed and compared by content, as switch-to-configuration-ng does.

Rules from the NixOS manual, "Unit handling" (sec-unit-handling), and from nixpkgs
pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs: parse_systemd_ini and
compare_units.
"""

from __future__ import annotations

import os

UnitInfo = dict[str, dict[str, list[str]]]

EQUAL, RESTART, RELOAD = "equal", "restart", "reload"

# Keys of [Unit] whose change does not concern the running unit.
IGNORED = frozenset(
    (
        "X-Reload-Triggers",
        "Description",
        "Documentation",
        "OnFailure",
        "OnSuccess",
        "OnFailureJobMode",
        "IgnoreOnIsolate",
        "StopWhenUnneeded",
        "RefuseManualStart",
        "RefuseManualStop",
        "AllowIsolate",
        "CollectMode",
        "SourcePath",
    )
)
# Keys whose change can be taken over by a reload.
RELOADABLE = frozenset(
    (
        ("Unit", "X-Reload-Triggers"),
        ("Service", "ExecReload"),
        ("Mount", "Options"),
    )
)


def parse(text: str, into: UnitInfo) -> None:
    """Add one file's assignments; an empty value forgets those before it.

    [Install] is left out: it says nothing about the running unit.
    """
    section: dict[str, list[str]] | None = None
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped[0] == "[" and stripped[-1] == "]":
            name = stripped[1:-1]
            section = None if name == "Install" else into.setdefault(name, {})
            continue
        key, equals, value = stripped.partition("=")
        if section is None or not equals:
            continue
        values = section.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()


def dropins(unit_path: str) -> list[str]:
    """Return the drop-ins of a unit file, in the order in which they apply."""
    directory = f"{unit_path}.d"
    if not os.path.isdir(directory):
        return []
    names = sorted(name for name in os.listdir(directory) if name.endswith(".conf"))
    return [f"{directory}/{name}" for name in names]


def load(unit_path: str, base_path: str) -> UnitInfo:
    """Return a unit with its drop-ins; for an instance the base is its template."""
    info: UnitInfo = {}
    paths = [base_path, *dropins(base_path)]
    if unit_path != base_path:
        paths += dropins(unit_path)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            parse(file.read(), info)
    return info


def boolean(info: UnitInfo, section: str, key: str, *, default: bool) -> bool:
    """Return the last value of a key, read as systemd reads booleans."""
    values = info.get(section, {}).get(key)
    return values[-1] in {"1", "yes", "true", "on"} if values else default


def _key_change(section: str, key: str, *, gone: bool) -> str:
    """Return what the change of one key asks for."""
    if (section, key) in RELOADABLE:
        if not gone:
            return RELOAD
        # A process does not mind that it can no longer be reloaded.
        return RESTART if section == "Mount" else EQUAL
    return EQUAL if section == "Unit" and key in IGNORED else RESTART


def compare(old: UnitInfo, new: UnitInfo) -> str:
    """Whether a changed unit needs a restart, a reload or nothing."""
    verdict = EQUAL
    for section in old.keys() | new.keys():
        before, after = old.get(section), new.get(section)
        if (before is None) != (after is None) and section not in {"Unit", "Service"}:
            return RESTART
        for key in (before or {}).keys() | (after or {}).keys():
            was, now = (before or {}).get(key), (after or {}).get(key)
            if was == now:
                continue
            change = _key_change(section, key, gone=now is None)
            if section == "Mount" and was is None:
                change = RESTART  # only a *changed* Options= is taken by a remount
            if change == RESTART:
                return RESTART
            if change == RELOAD:
                verdict = RELOAD
    return verdict
