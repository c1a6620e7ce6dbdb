"""The project's voice: few idioms, and help texts that fit their line."""

from __future__ import annotations

import textwrap

import pytest

from harness.plugin.options import OPTIONS
from tests.gates.generated import command_helps, help_of
from tests.gates.source import tracked
from tests.gates.voice import MOST, Prose, docstrings, kinds, rate, unquoted

KINDS = ("docstrings", "docs", "help")
# pytest and typer start a help text in this column of 80.
_PYTEST_WIDTH = 80 - 24
_CONTINUED = " " * 20


@pytest.mark.parametrize("kind", KINDS)
def test_idioms_are_rare(kind: str) -> None:
    """At most 3 per 1000 words, in docstrings, in the docs and in help texts."""
    found, places = kinds()[kind]
    assert found < MOST, "\n".join([f"{found:.1f} per 1000 words of {kind}", *places])


def test_every_kind_of_text_is_measured() -> None:
    """A rate of nothing would always pass."""
    assert tuple(kinds()) == KINDS
    path = next(path for path in tracked() if path.name == "deadline.py")
    assert sum(prose.words for prose in docstrings([path])) > 100


def test_an_idiom_counts_outside_of_quotations() -> None:
    """Two idioms in ten words; what programs say is not counted."""
    text = 'Nobody is told what `whoever` says, or "anew", in these words here.'
    prose = Prose("here", unquoted(text))
    assert prose.words == 10
    assert rate([prose]) == (200.0, ["here: Nobody", "here: told"])


def test_commands_fit_their_line() -> None:
    """The summary of a command is not cut on a terminal of 80 columns."""
    groups = {words.split()[0] for words, _ in command_helps() if " " in words}
    texts = [help_of(), *(help_of(group) for group in sorted(groups))]
    assert [line for text in texts for line in text.splitlines() if "..." in line] == [
        line for text in texts for line in text.splitlines() if "ARGS" in line
    ]


def test_options_of_commands_fit_their_line() -> None:
    """No option of a command continues on a second line."""
    continued = [
        f"harness {name}: {line.strip()}"
        for name, text in command_helps()
        for line in text.splitlines()
        if line.startswith(_CONTINUED)
    ]
    assert continued == []


def test_options_of_pytest_take_two_lines() -> None:
    """More than two lines of help belong into the reference."""
    long = [
        option.name
        for option in OPTIONS
        if len(textwrap.wrap(str(option.keywords["help"]), _PYTEST_WIDTH)) > 2
    ]
    assert long == []
