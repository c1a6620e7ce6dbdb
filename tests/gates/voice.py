"""The word list of the project's voice, and where its words stand.

`python -m tests.gates.voice` prints the rate of each kind of text and every hit.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from harness.plugin.markers import MARKERS
from harness.plugin.options import OPTIONS
from tests.gates.generated import command_helps
from tests.gates.source import ROOT, tracked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MOST = 3.0  # per 1000 words; trio has 1.8, labgrid and xdist 0.3, mkosi 0

# Words that readers of QEMU's, NixOS's, systemd's and pytest's documentation do not
# meet there. A group of alternatives is one idiom in its forms.
IDIOMS = (
    r"tells?|told|telling",
    r"whoever|whatever|whichever|whomever",
    r"somebody|nobody|anybody|everybody",
    r"somebody else|a person|a person's",
    r"anew",
    r"beside",
    r"by (?:it|him|her|one)self|by themselves",
    r"of (?:ours|yours|theirs|one's own)",
    r"(?:come|comes|came|coming) (?:of|about)",
    r"(?:stand|stands|stood|standing) (?:for|on)",
    r"for good",
    r"(?:end|ends|ended) well",
    r"(?:go|goes|went|gone) by",
    r"(?:find|finds|found) out",
    r"at one glance|for ever|once more|all the same|by hand of",
    r"(?:takes?|took|taken|brings?|brought|comes?|came|goes|go) along",
    r"in its place|in their place|in lab's place",
    r"what there is|what there was|all there is",
    r"hearts?",
    r"wake|wakes|woke|woken|spoil|spoils|spoiled|spoilt",
    r"freeze|freezes|froze|thaw|thaws|thawed",
    r"capsules?|old world|new world",
)
_IDIOM = re.compile(rf"\b(?:{'|'.join(IDIOMS)})\b", re.IGNORECASE)
# What programs say and what they are called is quoted, hence not our wording.
_QUOTED = re.compile(
    r"```.*?```|``.+?``|`[^`]+`|\"[^\"\n]*\"|“[^”]*”|https?://\S+"
    r"|^(?: {4}|\t)[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_QUOTED_IN_PYTHON = re.compile(r"``.+?``|`[^`]+`|\"[^\"\n]*\"|https?://\S+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


@dataclass(frozen=True, slots=True)
class Prose:
    """One piece of text: the place it comes from, and its words without quotations."""

    place: str
    text: str

    @property
    def words(self) -> int:
        """Number of words."""
        return len(_WORD.findall(self.text))

    @property
    def idioms(self) -> list[str]:
        """Every word or phrase of the list that it has."""
        return [found.group() for found in _IDIOM.finditer(self.text)]


def unquoted(text: str) -> str:
    """Take code, quotations and addresses out of a text of a program."""
    return _QUOTED_IN_PYTHON.sub("", text)


def docstrings(paths: Iterable[Path]) -> Iterator[Prose]:
    """Yield each docstring of Python files, those of attributes included."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield Prose(place, unquoted(node.value.value))


def pages(paths: Iterable[Path]) -> Iterator[Prose]:
    """Yield each line of Markdown files, without code."""
    for path in paths:
        text = _QUOTED.sub(
            lambda quoted: "\n" * quoted.group().count("\n"), path.read_text()
        )
        for number, line in enumerate(text.splitlines(), 1):
            yield Prose(f"{path.relative_to(ROOT)}:{number}", line)


def helps() -> Iterator[Prose]:
    """Yield each help text of the command line, and of pytest's options and markers."""
    for name, text in command_helps():
        yield Prose(f"harness {name}", unquoted(text))
    for option in OPTIONS:
        text = str(option.keywords.get("help", ""))
        yield Prose(f"pytest {option.name}", unquoted(text))
    for marker in MARKERS:
        yield Prose("marker", marker.partition(":")[2])


def rate(prose: Iterable[Prose]) -> tuple[float, list[str]]:
    """Return idioms per 1000 words, and each with its place."""
    words, hits = 0, []
    for one in prose:
        words += one.words
        hits += [f"{one.place}: {idiom}" for idiom in one.idioms]
    return 1000 * len(hits) / max(1, words), hits


@cache
def kinds() -> dict[str, tuple[float, list[str]]]:
    """Measure the three kinds of text."""
    files = sorted(tracked())
    markdown = [path for path in files if path.suffix == ".md"]
    return {
        "docstrings": rate(docstrings(p for p in files if p.suffix == ".py")),
        "docs": rate(pages(markdown)),
        "help": rate(helps()),
    }


def main(wanted: Sequence[str]) -> None:
    """Print the rates, and the hits of the kinds named or of all."""
    for kind, (found, places) in kinds().items():
        lines = places if not wanted or kind in wanted else []
        lines.append(f"{kind}: {found:.1f} per 1000 words, {len(places)} in all")
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
