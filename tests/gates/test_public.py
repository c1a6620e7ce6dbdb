"""The public interface: whole, cheap, and all that suites may import."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from pathlib import Path

import pytest

import harness
from harness.process import Completed, run
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
INTERFACE = ROOT / "harness/__init__.py"
# A planted import, the file that it is added to, and the contract that it breaks.
PLANTED = [
    pytest.param(
        "suites/store/test_gc.py",
        "from suites.boot import checks",
        "suites do not import one another",
        id="another-suite",
    ),
    pytest.param(
        "suites/boot/checks.py",
        "from harness.evidence import Recorder",
        "suites import only the public interface",
        id="a-room-below",
    ),
    pytest.param(
        "suites/network/test_swap.py",
        "from harness.guest import store",
        "suites import only the public interface",
        id="a-module-of-a-room",
    ),
    pytest.param(
        "harness/cli/say.py",
        "from harness import Machine",
        "no room imports the public interface above it",
        id="the-interface-from-below",
    ),
    pytest.param(
        "harness/cli/say.py",
        "from suites.boot import checks",
        "nothing in the harness knows the suites",
        id="a-suite-from-the-harness",
    ),
]


def test_every_public_name_exists() -> None:
    """Each name of `__all__` is found, also the one that needs QEMU's room."""
    assert [name for name in harness.__all__ if not hasattr(harness, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = harness.Nothing  # type: ignore[attr-defined]


def test_types_and_names_agree() -> None:
    """What mypy sees, what is listed and what is loaded are the same names."""
    typed = {
        alias.name: node.module
        for node in ast.walk(ast.parse(INTERFACE.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("harness")
        for alias in node.names
    }
    assert typed == harness._MODULE_OF  # noqa: SLF001 - the table under test
    assert sorted(typed) == sorted(harness.__all__)


def test_the_interface_is_cheap() -> None:
    """Importing it imports no room: a command that needs none starts at once."""
    code = "import sys, harness; print([m for m in sys.modules if 'harness.' in m])"
    ended = run(
        [sys.executable, "-c", code],
        deadline=patient(20, "an import of the interface"),
        cwd=ROOT,
    )
    assert ended.stdout.strip() == "[]", ended.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what the contracts are about."""
    for name in ("harness", "suites"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_a_planted_import_breaks_its_contract(
    tree: Path, file: str, line: str, contract: str
) -> None:
    """It breaks this one and no other: the contracts divide the rules cleanly."""
    path = tree / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    ended = contracts(tree)
    broken = [
        row.removesuffix(" BROKEN")
        for row in ended.stdout.splitlines()
        if row.endswith(" BROKEN")
    ]
    assert broken == [contract], ended.stdout + ended.stderr


def test_the_copy_alone_breaks_nothing(tree: Path) -> None:
    """So that what the tests above see is what they planted."""
    ended = contracts(tree)
    assert ended.rc == 0, ended.stdout + ended.stderr


def contracts(tree: Path) -> Completed:
    """Check the contracts of a copy of the project."""
    return run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        deadline=patient(50, "the contracts of a copy"),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
    )
