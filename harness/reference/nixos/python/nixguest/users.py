"""Users and groups as the configuration declares them.

After nixpkgs nixos/modules/config/update-users-groups.pl: declared entries are made or
corrected, entries that were declared once and are no more are removed, all others (the
base's system users, those added with useradd) stay; ids that were handed out
are kept for ever.
"""

from __future__ import annotations

import os

from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE = "/var/lib/nixos"


class Table:
    """One of /etc/passwd, group, shadow: rows of colon-separated fields, by name."""

    def __init__(self, path: str, mode: int) -> None:
        self.path = path
        self.mode = mode
        text = files.read(path, "")
        self.rows = {
            line.partition(":")[0]: line.split(":")
            for line in text.splitlines()
            if line
        }
        self._before = text

    def ids(self) -> set[int]:
        """Return the numeric ids in use."""
        return {int(row[2]) for row in self.rows.values()}

    def save(self) -> None:
        """Write the file, if it changed."""
        text = "".join(":".join(row) + "\n" for row in self.rows.values())
        if text != self._before:
            files.write_atomically(self.path, text, self.mode)


def apply(spec: dict[str, Any], etc: str = "/etc", state: str = STATE) -> None:
    """Bring the tables in line with `{"users": …, "groups": …}`."""
    passwd = Table(f"{etc}/passwd", 0o644)
    group = Table(f"{etc}/group", 0o644)
    shadow = Table(f"{etc}/shadow", 0o640)
    files.ensure_directory(state)
    _forget(f"{state}/declarative-groups", spec["groups"], group)
    _forget(f"{state}/declarative-users", spec["users"], passwd, shadow)
    for name, wanted in spec["groups"].items():
        row = group.rows.get(name, [name, "x", "", ""])
        row[2] = str(_id(wanted["gid"], row[2], group.ids(), system=True))
        members = [u for u, s in spec["users"].items() if name in s["extraGroups"]]
        row[3] = ",".join(sorted({*wanted["members"], *members}))
        group.rows[name] = row
    for name, wanted in spec["users"].items():
        _user(name, wanted, passwd, shadow, group)
    for table in (group, passwd, shadow):
        table.save()
    for wanted in spec["users"].values():
        if wanted["createHome"] and not os.path.isdir(wanted["home"]):
            os.makedirs(wanted["home"])
            os.chmod(wanted["home"], 0o700)
            row = passwd.rows[wanted["name"]]
            os.chown(wanted["home"], int(row[2]), int(row[3]))


def _forget(record: str, declared: dict[str, Any], *tables: Table) -> None:
    """Remove what was declared and is no more; write down what is declared now."""
    for name in set(files.read(record, "").split()) - declared.keys():
        for table in tables:
            table.rows.pop(name, None)
    files.write_atomically(record, " ".join(sorted(declared)))


def _id(wanted: int | None, present: str, taken: set[int], *, system: bool) -> int:
    """Choose the declared id, else the one in place, else a free one of its range."""
    if wanted is not None:
        return wanted
    if present:
        return int(present)
    candidates = range(999, 399, -1) if system else range(1000, 30000)
    return next(number for number in candidates if number not in taken)


def _user(
    name: str, wanted: dict[str, Any], passwd: Table, shadow: Table, group: Table
) -> None:
    row = passwd.rows.get(name, [name, "x", "", "", "", "", ""])
    uid = _id(wanted["uid"], row[2], passwd.ids(), system=not wanted["isNormalUser"])
    gid = group.rows[wanted["group"]][2]
    passwd.rows[name] = [
        *(name, "x", str(uid), gid),
        *(wanted["description"], wanted["home"], wanted["shell"]),
    ]
    secret = shadow.rows.get(name, [name, "!", "1", "", "", "", "", "", ""])
    if wanted["hashedPassword"] is not None:
        secret[1] = wanted["hashedPassword"]
    shadow.rows[name] = secret
