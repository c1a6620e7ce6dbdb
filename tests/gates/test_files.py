"""Rules about the source that no linter has: size, sleep, processes, places."""

from __future__ import annotations

import ast
import configparser
import os
import re
from pathlib import Path

from harness.fleet import Budgets
from tests.gates.source import ROOT, modules, nodes, tracked

LONGEST = 400


def test_files_are_short() -> None:
    """No Python file has more than 400 lines."""
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in tracked()
        if path.suffix == ".py"
        and (count := len(path.read_text().splitlines())) > LONGEST
    ]
    assert long == []


def test_sleep_lives_in_one_file() -> None:
    """Only `deadline.py` sleeps: everything else waits for something."""
    sleeps = {
        name
        for name, node in nodes()
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.alias) and node.name == "sleep")
    }
    assert sleeps == {"harness/deadline.py"}


def test_subprocess_lives_in_one_file() -> None:
    """Only `process.py` starts processes: it alone knows how to end them."""
    importers = set()
    for name, node in nodes():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        if any(n.partition(".")[0] == "subprocess" for n in names):
            importers.add(name)
    assert importers == {"harness/process.py"}


def test_no_shell() -> None:
    """No command line is ever a string for a shell of the host."""
    shells = [
        name
        for name, node in nodes()
        if isinstance(node, ast.Call)
        and (
            any(keyword.arg == "shell" for keyword in node.keywords)
            or ast.unparse(node.func) in {"os.system", "os.popen"}
        )
    ]
    assert shells == []


def test_no_place_of_this_computer() -> None:
    """No file names a host that packages come from here, or where this checkout lies.

    Where to download from is a setting of the computer, never of the project.
    """
    words = package_hosts()
    if len(ROOT.parts) > 2:  # "/src" is anybody's word
        words.add(str(ROOT))
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert found == []


def test_the_harness_names_no_test() -> None:
    """It finds tests by their markers: no path below `suites/` and no node id."""
    named = re.compile(r"suites/\w|\btest_\w+\.py|::test_")
    found = [
        f"{name}: {node.value}"
        for name, node in nodes()
        if name.startswith("harness/")
        and isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and named.search(node.value)
    ]
    assert found == []


def test_every_budget_is_held() -> None:
    """A threshold that the spec has and no suite asks for would be an empty promise."""
    judges = [
        *(ROOT / "suites").rglob("*.py"),
        ROOT / "harness/bystander/checks.py",
    ]
    suites = "\n".join(path.read_text() for path in judges)
    idle = [name for name in Budgets.model_fields if f"budgets.{name}" not in suites]
    assert idle == []


def literal_bounds(tree: ast.AST) -> list[str]:
    """List the bounds of checks that are a number with a unit, or a fraction."""
    bounds = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"at_most", "at_least"}
    ]
    return [ast.unparse(bound) for bound in bounds if _literal(bound)]


def _literal(bound: ast.expr) -> bool:
    if isinstance(bound, ast.Call) and ast.unparse(bound.func) == "Quantity":
        return isinstance(bound.args[0], ast.Constant)
    return isinstance(bound, ast.Constant) and isinstance(bound.value, float)


def test_bounds_with_a_unit_are_budgets() -> None:
    """A suite compares with [budgets], with another observation, or with a count."""
    found = [
        f"{name}: {bound}"
        for name, tree in modules()
        if name.startswith(("suites/", "harness/bystander", "harness/liveness"))
        for bound in literal_bounds(tree)
    ]
    assert found == []


def test_a_literal_bound_is_found() -> None:
    """Two of these four are thresholds that no fleet file names."""
    code = (
        "at_most(30.5); at_least(Quantity(3, 's')); at_most(budgets.reboot_s);"
        " at_least(2)"
    )
    assert literal_bounds(ast.parse(code)) == ["30.5", "Quantity(3, 's')"]


def package_hosts() -> set[str]:
    """Name the hosts in this computer's settings of apt and pip."""
    settings = [Path("/etc/apt/sources.list")]
    settings += Path("/etc/apt/sources.list.d").glob("*.sources")
    settings += Path("/etc/apt/sources.list.d").glob("*.list")
    texts = [p.read_text(errors="replace") for p in settings if p.is_file()]
    texts += [v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_"))]
    parser = configparser.ConfigParser(interpolation=None)
    homes = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
    parser.read(Path(home).expanduser() for home in homes)
    texts += [
        v for section in parser.sections() for v in dict(parser[section]).values()
    ]
    found = {h for text in texts for h in re.findall(r"https?://([\w.-]+\.\w+)", text)}
    return {host.rpartition("@")[2] for host in found}
