"""The summary for CI at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
    import pytest
    from harness.evidence import Check

    @pytest.mark.criterion("gc-no-estale")
    def test_gc(check):
        check(Check("no :x: | pipe", 2, 1, of="errors"))
"""


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Lay out a suite with one failing test."""
    return Child.made_of(tmp_path, {"suites/test_gc.py": SUITE})


def test_a_run_appends_its_table(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdict and failed check are there; the page of CI shows no emoji for `:x:`."""
    file = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    child.run("suites")
    text = file.read_text(encoding="utf-8")
    assert "| gc-no-estale ★ | **fail** |" in text
    assert "| no :\u2060x: &#124; pipe |" in text


def test_an_unwritable_summary_changes_nothing(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning; status and report are those of a run without it."""
    plain = child.run("suites")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    warned = child.run("suites")
    assert warned.rc == plain.rc
    assert warned.stdout.count("warning: GITHUB_STEP_SUMMARY=") == 1
    assert child.results().verdict("gc-no-estale") == "fail"
    assert ":x:" in warned.stdout
