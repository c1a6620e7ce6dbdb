"""The graph of imports has no circle, not even one that only types need."""

from __future__ import annotations

import grimp

PACKAGES = ("harness", "suites")


def test_modules_do_not_import_one_another_in_a_circle() -> None:
    """A module can be read, and replaced, after those that it imports."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False)
    imports = {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
    }
    assert len(imports) > 200
    assert circles(imports) == []


def test_a_circle_is_found() -> None:
    """Of any length, each once."""
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"d"}, "e": {"a"}}
    assert circles(imports) == [["b", "c"], ["d"]]


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules in which each one leads back to itself."""
    reached = {module: _reached(module, imports) for module in imports}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in imports
        if module in reached[module]
    }
    return sorted(map(list, groups))


def _reached(module: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = list(imports[module])
    while ahead:
        if (each := ahead.pop()) not in seen:
            seen.add(each)
            ahead += imports.get(each, ())
    return seen
