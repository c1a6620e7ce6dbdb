"""One class name means one thing, in the harness, its suites and its tests."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.gates.source import modules

if TYPE_CHECKING:
    from collections.abc import Iterable


def test_no_class_name_is_used_twice() -> None:
    """A reader who knows a name from one room does not misread it in another."""
    assert len(modules()) > 300
    assert named_twice(modules()) == {}


def test_a_name_that_is_used_twice_is_found() -> None:
    """Also of a class inside another one, or inside a function."""
    sources = {
        "a.py": "class One: ...\nclass Two: ...",
        "b.py": "def f():\n class One: ...",
        "c.py": "class Three:\n class Four: ...\nclass Four: ...",
    }
    trees = [(name, ast.parse(text)) for name, text in sources.items()]
    assert named_twice(trees) == {"Four": ["c.py", "c.py"], "One": ["a.py", "b.py"]}


def named_twice(trees: Iterable[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """Return each class name that several definitions have, with their files."""
    found: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(file)
    return {name: files for name, files in sorted(found.items()) if len(files) > 1}
