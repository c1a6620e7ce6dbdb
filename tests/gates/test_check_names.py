"""Names of checks: each is made once, says a fact, and is what faults expect.

A static test: names are literals, f-strings (which match any value), or come into a
function that makes a `Check` as an argument of its callers.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.fault import built_in
from tests.gates.voice import Prose

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SHARED = "harness"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Name:
    """The name of a check: a regular expression, and the suite whose code has it."""

    pattern: str
    text: str
    suite: str
    place: str

    def matches(self, check: str) -> bool:
        """Whether a check may have this name."""
        return re.fullmatch(self.pattern, check) is not None


@dataclass(frozen=True)
class Scope:
    """A Python file and the functions around a call, the innermost last."""

    path: Path
    tree: ast.Module
    functions: tuple[FunctionNode, ...]

    @property
    def suite(self) -> str:
        """The suite that the file is part of, or SHARED."""
        parts = self.path.parts
        return parts[1] if parts[0] == "suites" else SHARED

    def sees(self, other: Scope) -> bool:
        """Whether code here may call what is defined there: suites are apart."""
        return other.suite in {self.suite, SHARED}

    def values(self, name: str) -> Iterator[ast.expr]:
        """Yield what a name is assigned, in the innermost scope that assigns it."""
        for node in (*reversed(self.functions), self.tree):
            found = list(_assigned(node, name))
            if found:
                yield from found
                return

    def parameter_of(self, name: str) -> tuple[FunctionNode, int] | None:
        """Return the function that has a parameter of this name, and its position."""
        for function in reversed(self.functions):
            names = [argument.arg for argument in _arguments(function)]
            if name in names:
                return function, names.index(name)
        return None


def test_every_expected_check_is_made_by_a_suite() -> None:
    """A check that was renamed would turn its faults into misses."""
    expected = {
        (kind.name, check)
        for kind in built_in().values()
        for checks in kind.expects.values()
        for check in checks
    }
    assert expected
    unknown = sorted(
        f"{fault}: {check}"
        for fault, check in expected
        if not any(name.matches(check) for name in names())
    )
    assert unknown == []


def test_a_name_means_one_thing() -> None:
    """A name that two suites make is two checks; what they share lies below them."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names():
        places[name.text][name.suite] = name.place
    twice = {text: found for text, found in places.items() if len(found) > 1}
    assert twice == {}


def test_names_are_facts_in_plain_words() -> None:
    """No idiom: a reader looks for the words of QEMU, systemd and NixOS."""
    prose = [Prose(name.place, name.text) for name in names()]
    assert [f"{one.place}: {one.idioms}" for one in prose if one.idioms] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('Check("a is b", 1, 1)', ["a is b"]),
        ('Check(f"{key} is set", 1, 1)', ["… is set"]),
        ('Check(name="a is b", seen=1, expected=1)', ["a is b"]),
        ('def f(n):\n    Check(n, 1, 1)\nf("one")\nf(n="two")', ["one", "two"]),
        ('N = "a is b"\ndef f():\n    return Check(N, 1, 1)', ["a is b"]),
        (
            'def f():\n    for n, v in (("one", 1), ("two", 2)): Check(n, v, v)',
            ["one", "two"],
        ),
        ('Check("a" if x else "b", 1, 1)', ["a", "b"]),
        ('N = {1: "one", 2: "two"}\ndef f(k):\n    Check(N[k], 1, 1)', ["one", "two"]),
    ],
)
def test_names_are_found(source: str, found: list[str]) -> None:
    """Each way in which a suite writes a name."""
    tree = ast.parse(source)
    files = {Path("suites/some/checks.py"): tree}
    assert sorted(name.text for name in collect(files)) == found


def test_a_name_that_is_not_found_fails() -> None:
    """A name that a call returns cannot be followed: the test says so."""
    files = {Path("suites/some/checks.py"): ast.parse("Check(name_of(1), 1, 1)")}
    with pytest.raises(AssertionError, match=r"suites/some/checks.py:1"):
        collect(files)


@cache
def names() -> tuple[Name, ...]:
    """Find the names of all checks that the suites, and what they share, make."""
    paths = [*(ROOT / "suites").rglob("*.py"), *(ROOT / "harness").rglob("*.py")]
    own = ROOT / "harness/evidence"
    return collect(
        {
            path.relative_to(ROOT): ast.parse(path.read_text())
            for path in paths
            if own not in path.parents
        }
    )


def collect(files: dict[Path, ast.Module]) -> tuple[Name, ...]:
    """Find the names of the checks that some files make, by place."""
    calls = [
        (call, Scope(path, tree, functions))
        for path, tree in files.items()
        for call, functions in _calls(tree, ())
    ]
    return tuple(
        name
        for call, scope in calls
        if _called(call) == "Check" and (call.args or call.keywords)
        for name in _names(_argument(call, "name", 0), scope, calls)
    )


def _names(
    node: ast.expr | None, scope: Scope, calls: list[tuple[ast.Call, Scope]]
) -> Iterator[Name]:
    """Follow an expression to the texts that it may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield _name(re.escape(text), text, scope, node)
        case ast.JoinedStr(values=parts):
            texts = [p.value if isinstance(p, ast.Constant) else None for p in parts]
            pattern = "".join(".+" if t is None else re.escape(str(t)) for t in texts)
            yield _name(pattern, "".join(str(t or "…") for t in texts), scope, node)
        case ast.IfExp(body=one, orelse=other):
            yield from _names(one, scope, calls)
            yield from _names(other, scope, calls)
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            yield from _followed(name, node, scope, calls)
        case ast.Dict(values=values):
            for value in values:
                yield from _names(value, scope, calls)
        case _:
            line = node.lineno if node else 0
            raise AssertionError(f"{scope.path}:{line}: which name is that?")


def _followed(
    name: str, node: ast.expr, scope: Scope, calls: list[tuple[ast.Call, Scope]]
) -> Iterator[Name]:
    values = list(scope.values(name))
    for value in values:
        yield from _names(value, scope, calls)
    parameter = scope.parameter_of(name)
    if not values and parameter is None:
        raise AssertionError(f"{scope.path}:{node.lineno}: where is {name} from?")
    if parameter is not None:
        function, position = parameter
        for call, caller in calls:
            if _called(call) == function.name and caller.sees(scope):
                yield from _names(_argument(call, name, position), caller, calls)


def _name(pattern: str, text: str, scope: Scope, node: ast.expr) -> Name:
    return Name(pattern, text, scope.suite, f"{scope.path}:{node.lineno}")


def _calls(
    node: ast.AST, functions: tuple[FunctionNode, ...]
) -> Iterator[tuple[ast.Call, tuple[FunctionNode, ...]]]:
    """Yield every call with the functions around it."""
    if isinstance(node, FunctionNode):
        functions = (*functions, node)
    if isinstance(node, ast.Call):
        yield node, functions
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, functions)


def _called(call: ast.Call) -> str:
    """Return the last word of what is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _argument(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """Return an argument that is given by name or by position."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if position < len(call.args) else None


def _arguments(function: FunctionNode) -> list[ast.arg]:
    """List a function's parameters as its callers count them."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [a for a in listed if a.arg not in {"self", "cls"}]


def _assigned(node: ast.AST, name: str) -> Iterator[ast.expr]:
    """Yield what a scope assigns to a name, by `=` or by a loop over a tuple."""
    for inner in ast.walk(node):
        match inner:
            case ast.Assign(targets=[ast.Name(id=found)], value=value):
                if found == name:
                    yield value
            case ast.For(target=ast.Tuple(elts=targets), iter=ast.Tuple(elts=rows)):
                for index, target in enumerate(targets):
                    if isinstance(target, ast.Name) and target.id == name:
                        yield from (
                            r.elts[index] for r in rows if isinstance(r, ast.Tuple)
                        )
            case _:
                pass
