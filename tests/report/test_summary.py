"""The summary for CI: whole, escaped, and without a say in the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.report import summary
from tests.report import samples

if TYPE_CHECKING:
    from pathlib import Path

TEXT = summary.render(samples.with_controls(samples.results()))


def test_it_has_criteria_failures_and_controls() -> None:
    """Verdict, reason and duration of each row, each failed check, the controls."""
    lines = TEXT.splitlines()
    assert lines[1].startswith("## 1 of 5 required criteria passed; 1 broken, 1 fail")
    (swap,) = [line for line in lines if line.startswith("| swap-keeps-address ★ |")]
    assert swap.endswith("| **fail** | reason of swap-keeps-address | 0 s |")
    (check,) = [line for line in lines if line.startswith("| one-mac | ")]
    assert check.endswith("| The address moves within its budget |")
    assert (
        "Controls: 1 of 2 faults detected; 1 of 1 harmless variant quiet; 1 missed."
        in lines
    )
    assert "| two-macs | **missed** |  |" in lines


def test_every_table_has_its_columns() -> None:
    """No text breaks out of its cell."""
    for row in TEXT.splitlines():
        if row.startswith("|"):
            assert row.count("|") in {4, 5}
            assert row.endswith("|")


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "<script>x</script>",
        "**bold** _it_ `code` [a](http://b)",
        "![i](http://b)",
        "# head",
        "&lt;",
        "@someone",
        "one\n\n| two |\r\n---",
        "\x1b[31mred\x00\u202ecba",
    ],
)
def test_no_text_is_markup(text: str) -> None:
    """What a guest says is shown, on one line."""
    said = summary.escaped(text)
    for sign in "|<>*_`[]()#!@\n\r\x1b\x00\u202e":
        assert sign not in said.replace("&#", "")
    assert summary.escaped("10:20:30, at most 5 ms") == "10:\u206020:30, at most 5 ms"


def test_no_text_is_an_emoji() -> None:
    """`:x:` is a text."""
    said = summary.escaped(":x: and :white_check_mark: and a:+1:")
    assert ":x:" not in said
    assert ":white" not in said
    assert said.startswith(":\u2060x:")
    assert ":+1:" not in said


def test_it_is_appended(tmp_path: Path) -> None:
    """Other steps have written there too; without the variable nothing is written."""
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    assert summary.append("after\n", {summary.VARIABLE: str(file)}) == ""
    assert file.read_text() == "before\nafter\n"
    assert summary.append("x", {}) == ""
    assert summary.append("x", {summary.VARIABLE: ""}) == ""


@pytest.mark.parametrize("name", ["", "absent/file", "nul\0"])
def test_an_unwritable_file_is_one_warning(tmp_path: Path, name: str) -> None:
    """A directory, a missing one, no path at all."""
    said = summary.append("x", {summary.VARIABLE: f"{tmp_path}/{name}"})
    assert said.startswith("warning: GITHUB_STEP_SUMMARY=")
    assert said.count("\n") == 0


def test_long_runs_stay_short() -> None:
    """A hundred failed checks of long texts are no megabyte."""
    results = samples.results()
    swap = next(t for t in results.tests if t.nodeid == samples.SWAP)
    row = swap.checks[0].model_copy(update={"reason": "x" * 10_000})
    many = swap.model_copy(update={"checks": (row,) * 100})
    text = summary.render(results.model_copy(update={"tests": (many,)}))
    assert "… and 70 more failed checks" in text
    assert len(text) < 20_000
