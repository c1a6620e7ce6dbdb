"""What the docs state about the project: links, paths, commands, tables, rooms."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import harness
from harness.criteria import REGISTER
from harness.deadline import Deadline
from harness.plugin.markers import MARKERS
from harness.plugin.options import OPTIONS
from harness.process import run
from tests.gates.generated import PAGES, ROOT, command_helps, renewed
from tests.gates.source import modules, tracked

PROSE = sorted(
    path.relative_to(ROOT)
    for place in ("*.md", "docs/**/*.md", "reports/README.md", "harness/**/*.md")
    for path in ROOT.glob(place)
)
# A changelog names what there was.
TODAY = [page for page in PROSE if page.name != "CHANGELOG.md"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PYTHON = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"```.*?```", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_ANCHOR_DROPS = re.compile(r"[^\w\- ]")
# Files that a reader makes.
_MADE = {"suites/test_first.py"}
_TOP = {"harness", "suites", "tests", "docs", ".ci", "reports"}


def read(page: Path) -> str:
    """Read a page."""
    return (ROOT / page).read_text()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", _FENCED.sub("", read(page)), re.MULTILINE)
    plain = (_ANCHOR_DROPS.sub("", head.lower()).replace(" ", "-") for head in heads)
    return set(plain)


@pytest.mark.parametrize("page", PROSE, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the project, and a heading that it has."""
    broken = []
    for link in _LINK.findall(_FENCED.sub("", read(page))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page.parent / name).resolve() if name else ROOT / page
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (anchor and anchor not in anchors(target.relative_to(ROOT))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", TODAY, ids=str)
def test_paths_exist(page: Path) -> None:
    """A path in code quotes that begins in a directory of the project exists."""
    missing = []
    for code in _CODE.findall(_FENCED.sub("", read(page))):
        path = code.partition("::")[0].rstrip("/")
        if path.partition("/")[0] not in _TOP or "/" not in path:
            continue
        if re.search(r"[<>*…{}\s]", path) or path.startswith("reports/"):
            continue
        if path not in _MADE and not (ROOT / path).exists():
            missing.append(path)
    assert missing == []


@pytest.mark.parametrize("page", PROSE, ids=str)
def test_generated_parts_are_current(page: Path) -> None:
    """`make docs` has been run since the code changed."""
    text = read(page)
    assert renewed(text) == text, "run `make docs`"


def test_every_page_is_linked_from_readme() -> None:
    """README leads to every page of the docs."""
    linked = {link.partition("#")[0] for link in _LINK.findall(read(Path("README.md")))}
    pages = {str(page) for page in PROSE if page.parts[0] == PAGES[1]}
    assert pages - linked == set()


@pytest.mark.parametrize("page", TODAY, ids=str)
def test_commands_exist(page: Path) -> None:
    """Each `make` target and each `harness` command that a page names exists."""
    text = read(page)
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    helps = dict(command_helps())
    groups = {name.partition(" ")[0] for name in helps}
    named = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) - targets == set()
    said = re.findall(
        r"(?:^(?: {4})?|`)(?:\.venv/bin/)?harness ([a-z][a-z-]*)(.*)$",
        text,
        re.MULTILINE,
    )
    assert {name for name, _ in said} - groups == set()
    options = {
        f"{name} {option}"
        for name, rest in said
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest.partition("`")[0])
        if not any(option in h for n, h in helps.items() if n.split()[0] == name)
    }
    assert options == set()


def test_pytest_words_are_documented() -> None:
    """The reference has every option and every marker of the plugin."""
    page = read(Path("docs/reference/pytest.md"))
    words = [option.name for option in OPTIONS]
    words += [marker.partition("(")[0].partition(":")[0] for marker in MARKERS]
    assert [word for word in words if f"`{word}" not in page] == []


def test_examples_pass_the_linters(tmp_path: Path) -> None:
    """A whole file in the docs, one that begins with a docstring, is as ours are."""
    place = tmp_path / "suites"
    place.mkdir()
    for page in TODAY:
        for number, code in enumerate(_PYTHON.findall(read(page))):
            if (text := dedent(code)).startswith('"""'):
                (place / f"test_{page.stem.replace('-', '_')}_{number}.py").write_text(
                    text
                )
    assert len(list(place.iterdir())) >= 4
    ruff = [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache"]
    ruff += ["--config", str(ROOT / "pyproject.toml"), "--ignore", "INP001"]
    ended = run([*ruff, str(place)], deadline=Deadline.after(30, "ruff"))
    assert ended.rc == 0, ended.stdout


def test_names_of_examples_are_public() -> None:
    """What an example imports from `harness` is there."""
    names = {
        alias.strip()
        for page in TODAY
        for code in _PYTHON.findall(read(page))
        for line in re.findall(r"from harness import (.*)", code)
        for alias in line.split(",")
    }
    assert len(names) > 4
    assert {name for name in names if name not in harness.__all__} == set()


def test_criteria_in_prose_exist() -> None:
    """A name that looks like a criterion of README's table is in the register."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", read(Path("README.md")), re.MULTILINE)
    assert rows == [row.id for row in REGISTER if row.decides]


def test_documentation_has_one_sentence_per_line() -> None:
    """A line of prose ends where its sentence ends, so that diffs show sentences."""
    joined = []
    for page in PROSE:
        for number, line in enumerate(read(page).splitlines(), 1):
            prose = _CODE.sub("x", line)
            if prose.startswith(("|", "-", "#", " ", "1", "2", "3", "4", "5", "6")):
                continue
            if re.search(r"[a-z)][.!?] [A-Z]", prose):
                joined.append(f"{page}:{number}")
    assert joined == []


def test_tracked_pages_are_all_judged() -> None:
    """No Markdown file of the project escapes these tests."""
    known = {ROOT / page for page in PROSE}
    assert {path for path in tracked() if path.suffix == ".md"} - known == set()


def test_classes_in_the_glossary_exist() -> None:
    """A class that the glossary names in brackets is one of the harness."""
    known = {
        node.name
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    named = set(re.findall(r"\(`([A-Z]\w+)`\)", read(Path("GLOSSARY.md"))))
    assert len(named) >= 5
    assert named - known == set()
