"""The parts of the docs that are generated from the code.

A page has them between `<!-- generated: NAME -->` and `<!-- end -->`. `make docs`, that
is `python -m tests.gates.generated`, writes them; a test checks that they are current.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.main import get_command
from typer.testing import CliRunner

from harness.cli import app
from harness.criteria import REGISTER
from harness.exits import MEANINGS
from harness.fault import built_in
from harness.plugin.markers import MARKERS
from harness.plugin.options import OPTIONS
from harness.report.model import json_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from harness.criteria import Criterion

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs")
_RESULTS = ROOT / "harness/report/results.schema.json"
_SECTION = re.compile(
    r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def required_criteria() -> str:
    """List the criteria that decide the exit status."""
    return table(
        ("criterion", "promise"),
        ((f"`{row.id}`", row.title) for row in REGISTER if row.decides),
    )


def register() -> str:
    """List every criterion."""
    return table(
        ("criterion", "required", "promise", "decided by"),
        (
            (f"`{row.id}`", "yes" if row.decides else "", row.title, _decided(row))
            for row in REGISTER
        ),
    )


def _decided(row: Criterion) -> str:
    needs = f" ({row.needs})" if row.needs else ""
    return f"{row.decided_by}{needs}"


def faults() -> str:
    """List the faults of each criterion, then the benign variants."""
    known = built_in()
    parts = [f"{len(known)} variants, of which {_benign(known)} are benign.\n"]
    for row in REGISTER:
        found = {name: f for name, f in known.items() if row.id in f.expects}
        if found:
            parts.append(f"\n## `{row.id}`\n\n" + _faults(found, row.id))
    benign = {name: fault for name, fault in known.items() if fault.benign}
    rows = [(f"`{n}`", f.story(), f.source) for n, f in sorted(benign.items())]
    parts.append(
        "\n## Benign variants\n\n" + table(("variant", "story", "source"), rows)
    )
    return "".join(parts)


def _benign(known: dict[str, Any]) -> int:
    return sum(fault.benign for fault in known.values())


def _faults(found: dict[str, Any], criterion: str) -> str:
    rows = [
        (f"`{name}`", fault.story(), _checks(fault.expects[criterion]), fault.source)
        for name, fault in sorted(found.items())
    ]
    return table(("fault", "story", "one of these checks must fail", "source"), rows)


def _checks(names: Iterable[str]) -> str:
    return "; ".join(sorted(names))


def exits() -> str:
    """List the exit statuses of runs and commands."""
    rows = [(str(int(e)), e.word, text) for e, text in MEANINGS.items()]
    return table(("status", "word", "meaning"), rows)


def cli() -> str:
    """Quote the help of every command, as a terminal of 80 columns shows it."""
    return "\n".join(
        f"## `harness {name}`\n\n```\n{text}```\n" for name, text in command_helps()
    )


@cache
def command_helps() -> tuple[tuple[str, str], ...]:
    """Return the help text of every command that has no commands below, by name."""
    return tuple(
        (" ".join(words), help_of(*words)) for words in _leaves((), get_command(app))
    )


def help_of(*words: str) -> str:
    """Return what `harness … --help` prints on a terminal of 80 columns."""
    terminal = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    output = terminal.invoke(app, [*words, "--help"]).output
    return "\n".join(line.rstrip() for line in output.strip().splitlines()) + "\n"


def _leaves(words: tuple[str, ...], command: object) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    if not below:
        yield words
    for name, one in below.items():
        yield from _leaves((*words, name), one)


def rooms() -> str:
    """List the rooms of the harness from top to bottom, each by its own docstring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c.get("exhaustive"))
    rows = [
        (f"`{name}`", _summary(ROOT / "harness" / name))
        for layer in layers
        for name in re.findall(r"\w+", layer)
    ]
    return table(("room", "content"), rows)


def _summary(room: Path) -> str:
    file = room / "__init__.py" if room.is_dir() else room.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def pytest_options() -> str:
    """List the options that the plugin adds to pytest."""
    return table(
        ("option", "meaning"),
        (
            (_pytest_spelling(one.name, one.keywords), str(one.keywords["help"]))
            for one in OPTIONS
        ),
    )


def _pytest_spelling(name: str, keywords: dict[str, Any]) -> str:
    if keywords.get("action") == "store_true":
        return f"`{name}`"
    return f"`{name} {keywords['metavar']}`"


def markers() -> str:
    """List the markers."""
    rows = [(f"`{head}`", text.strip()) for head, _, text in map(_split, MARKERS)]
    return table(("marker", "meaning"), rows)


def _split(marker: str) -> tuple[str, str, str]:
    return marker.partition(":")


def fixtures() -> str:
    """List the fixtures for suites, with the type of each and its scope."""
    rows = []
    for path in sorted((ROOT / "harness/plugin").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                scopes = [s for d in node.decorator_list if (s := _scope(d))]
                if scopes:
                    rows.append((node, scopes[0]))
    return table(
        ("fixture", "scope", "type", "value"),
        (
            (f"`{node.name}`", scope, f"`{_kind(node)}`", ast.get_docstring(node) or "")
            for node, scope in rows
        ),
    )


def _scope(decorator: ast.expr) -> str:
    text = ast.unparse(decorator)
    if not text.startswith("pytest.fixture"):
        return ""
    found = re.search(r"scope='(\w+)'", text)
    return found.group(1) if found else "function"


def _kind(node: ast.FunctionDef) -> str:
    text = ast.unparse(node.returns) if node.returns else ""
    return re.sub(r"^Iterator\[(.*)\]$", r"\1", text)


def fleet() -> str:
    """List every key of `fleet.toml` from its JSON Schema."""
    text = (ROOT / "harness/fleet/fleet.schema.json").read_text()
    schema = json.loads(text)
    parts = []
    for key, value in schema["properties"].items():
        model = _model(schema, value)
        if model is not None:
            head = f"[{key}.NAME]" if "additionalProperties" in value else f"[{key}]"
            parts.append(f"## `{head}`\n\n{_described(model)}\n" + _keys(model))
            for name, inner in model["properties"].items():
                if (deeper := _model(schema, inner)) and "properties" in deeper:
                    title = head.replace("]", f".{name}]")
                    parts.append(f"## `{title}`\n\n{_described(deeper)}\n")
                    parts.append(_keys(deeper))
    return "\n".join(parts)


def results() -> str:
    """List every field of `results.json` from its JSON Schema."""
    schema = json.loads(_RESULTS.read_text())
    return "\n".join(_fields(schema, schema, ""))


def _fields(schema: dict[str, Any], model: dict[str, Any], path: str) -> Iterator[str]:
    for key, value in model["properties"].items():
        if inner := _model(schema, value):
            head = f"{path}{key}" + ("[]" if value.get("type") == "array" else "")
            yield f"### `{head}`\n\n{_described(inner)}\n" + _keys(inner)
            yield from _fields(schema, inner, f"{head}.")


def _described(model: dict[str, Any]) -> str:
    text = " ".join(str(model.get("description", "")).split())
    return f"{text}\n" if text else ""


def _model(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    """Find the object that a property refers to, directly, in a list or by name."""
    for place in (value, value.get("items"), value.get("additionalProperties")):
        if isinstance(place, dict):
            for one in (place, *place.get("anyOf", ())):
                if "$ref" in one:
                    found = schema["$defs"][one["$ref"].rpartition("/")[2]]
                    return found if "properties" in found else None
    return None


def _keys(model: dict[str, Any]) -> str:
    rows = [
        (f"`{key}`", str(value.get("description", "")), _schema_default(value))
        for key, value in model["properties"].items()
    ]
    return table(("key", "meaning", "default"), rows)


def _schema_default(value: dict[str, Any]) -> str:
    default = value.get("default")
    return "" if default in (None, "", [], {}) else f"`{json.dumps(default)}`"


SECTIONS: dict[str, Callable[[], str]] = {
    "required-criteria": required_criteria,
    "register": register,
    "faults": faults,
    "rooms": rooms,
    "exits": exits,
    "cli": cli,
    "pytest-options": pytest_options,
    "markers": markers,
    "fixtures": fixtures,
    "fleet": fleet,
    "results": results,
}


def renewed(text: str) -> str:
    """Return a page with all its generated sections as they must be now."""
    return _SECTION.sub(lambda m: m[1] + SECTIONS[m["name"]]() + m[3], text)


def pages() -> list[Path]:
    """Find the pages with generated sections."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if _SECTION.search(path.read_text())]


def main() -> None:
    """Write every generated section, and the schema that one of them shows."""
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=False)
    _RESULTS.write_text(schema + "\n")
    for path in pages():
        path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main()
