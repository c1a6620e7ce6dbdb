"""The project's own files, for rules about them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """List the files of the project, new ones too, without what is ignored."""
    listed = run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"],
        deadline=patient(20, "git to list files"),
    )
    if listed.rc != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Parse every Python file of the project."""
    found = [path for path in tracked() if path.suffix == ".py"]
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in found
    )


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of every Python file."""
    for name, tree in modules():
        for node in ast.walk(tree):
            yield name, node
