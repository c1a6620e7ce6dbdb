"""Where the hooks of a fault are called: each in one room, below both doors."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROOMS = {
    "alter_spec": "testbed",
    "alter_network": "testbed",
    "inject": "testbed",
    "inject_once": "stage",
    "alter_command_line": "machine",
    "alter_shell": "machine",
    "after_rebuild": "machine",
    "after_collection": "machine",
}
_OWN = {"super", "type", "Fault"}


def uses(file: Path) -> Iterator[str]:
    """List the hooks that a file uses, except as part of a fault's own class."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ROOMS:
            value = node.value
            name = value.func if isinstance(value, ast.Call) else value
            if not (isinstance(name, ast.Name) and name.id in _OWN):
                yield node.attr


def test_each_hook_is_called_in_one_room() -> None:
    """Neither pytest's plugin nor the command line calls one."""
    found = {
        (hook, file.relative_to(ROOT / "harness").parts[0])
        for file in sorted((ROOT / "harness").rglob("*.py"))
        for hook in uses(file)
    }
    assert found == set(ROOMS.items())


def test_every_hook_of_a_fault_is_listed() -> None:
    """A new one needs a row above."""
    hooks = {name for name in vars(Fault) if name.startswith(("alter", "inject"))}
    hooks |= {name for name in vars(Fault) if name.startswith("after_")}
    assert hooks - {"injects_once"} == set(ROOMS)
