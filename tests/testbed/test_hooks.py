"""Where the hooks of a fault are called: by the test bed and its stages alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOOKS = {"alter_spec", "alter_command_line", "inject_once", "inject", "alter_network"}
ROOMS = {"stage", "testbed"}


def uses(file: Path) -> Iterator[str]:
    """List the hooks that a file uses, except as part of a fault's own class."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in HOOKS:
            value = node.value
            name = value.func if isinstance(value, ast.Call) else value
            if not (
                isinstance(name, ast.Name) and name.id in {"super", "type", "Fault"}
            ):
                yield node.attr


def test_each_hook_has_one_caller() -> None:
    """Every hook that a fault has is called once, in one of two rooms."""
    found = [
        (file.relative_to(ROOT / "harness").parts[0], hook)
        for file in sorted((ROOT / "harness").rglob("*.py"))
        for hook in uses(file)
        if "reference" not in file.parts
    ]
    assert {room for room, _ in found} <= ROOMS
    assert sorted(hook for _, hook in found) == sorted(HOOKS)
    assert all(hasattr(Fault, hook) for hook in HOOKS)
