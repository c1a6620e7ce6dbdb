"""Faults alter the system through their hooks; none patches the instrument."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from harness.fault import built_in
from harness.shell import AlteredShell, Shell
from tests.gates.source import modules

if TYPE_CHECKING:
    from collections.abc import Iterator

PATCHES = [
    "setattr(machine.cpu, 'weighed', None)",
    "object.__setattr__(machine, 'retire', None)",
    "vars(machine)['retire'] = None",
    "machine.__dict__['retire'] = None",
    "machine.retire = None",
    "machine.system.rebuild: object = None",
    "machine.__class__.retire = None",
    "self.first.retire = None",
    "monkeypatch.setattr(machine, 'retire', None)",
]
HARMLESS = ["self.first = None", "files['a'] = vars(x)", "self._made['a'] = 1"]


def patches(tree: ast.AST) -> Iterator[str]:
    """Yield what replaces an attribute of an object that is not the fault's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _SETTERS:
            yield ast.unparse(node)
        for target in _targets(node):
            if _is_foreign(target):
                yield ast.unparse(target)


_SETTERS = frozenset({"setattr", "delattr", "__setattr__"})


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _is_foreign(target: ast.expr) -> bool:
    if isinstance(target, ast.Attribute):
        return _name(target.value) != "self"
    return isinstance(target, ast.Subscript) and _is_namespace(target)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_namespace(node: ast.Subscript) -> bool:
    value = node.value
    called = isinstance(value, ast.Call) and _name(value.func) == "vars"
    return called or (isinstance(value, ast.Attribute) and value.attr == "__dict__")


@pytest.mark.parametrize("code", PATCHES)
def test_a_patch_is_found(code: str) -> None:
    """Each way to replace a method."""
    assert list(patches(ast.parse(code)))


@pytest.mark.parametrize("code", HARMLESS)
def test_a_faults_own_state_is_none(code: str) -> None:
    """What it remembers of itself replaces nothing."""
    assert list(patches(ast.parse(code))) == []


def test_no_fault_patches_the_instrument() -> None:
    """A renamed verb would leave a patch without effect."""
    found = [
        f"{name}: {patch}"
        for name, tree in modules()
        if name.startswith("harness/fault/")
        for patch in patches(tree)
    ]
    assert found == []


def test_an_altered_shell_overrides_verbs_of_the_shell() -> None:
    """A public method that the protocol does not have is called by nothing."""
    built_in()
    shells = _below(AlteredShell)
    kinds = [kind for kind in shells if kind.__module__.startswith("harness.fault.")]
    assert len(kinds) > 10
    verbs = {name for name in vars(Shell) if not name.startswith("_")}
    stray = [
        f"{kind.__qualname__}.{name}"
        for kind in kinds
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_") and name not in verbs
    ]
    assert stray == []


def _below(kind: type[Shell]) -> Iterator[type[Shell]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
