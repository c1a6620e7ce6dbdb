"""An output that is full, or left by its reader: the verdict does not change."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from harness.process import Completed, run
from harness.report import verdicts
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
    import pytest

    from harness.evidence import Check

    @pytest.mark.criterion("gc-no-estale")
    @pytest.mark.parametrize("n", range(3))
    def test_one(check, n):
        print("x" * 100_000)
        check(Check("held", {held}, True))
"""
LOST = "harness: standard output is not complete: no space left on device\n"


def shell(child: Child, redirections: str, *args: str) -> Completed:
    """Run pytest in a shell, with its outputs led elsewhere."""
    command = shlex.join(child.argv(*args))
    return run(
        ["bash", "-c", f"{command} {redirections}"],
        deadline=patient(50, "a child pytest"),
        env=child.env(),
        cwd=child.directory,
    )


@pytest.mark.parametrize(
    ("redirections", "held", "status", "said", "args"),
    [
        (">/dev/full", True, 2, LOST, ()),
        (">/dev/full", True, 2, LOST, ("-s",)),
        (">/dev/full", False, 1, LOST, ("-n", "1")),
        ("| head -1; exit ${PIPESTATUS[0]}", True, 0, "", ("-n", "1")),
        ("| head -1; exit ${PIPESTATUS[0]}", False, 1, "", ("-s",)),
        (">/dev/full 2>&1", False, 1, "", ()),
    ],
)
def test_a_run_whose_output_is_lost(
    tmp_path: Path,
    redirections: str,
    status: int,
    said: str,
    args: tuple[str, ...],
    *,
    held: bool,
) -> None:
    """The report is written; a pass is 2 where a disk lost its output."""
    suite = SUITE.format(held=held)
    child = Child.made_of(tmp_path, {"suites/test_store.py": suite})
    ended = shell(child, redirections, "suites", "-k", "one", *args)
    assert ended.stderr == said
    assert ended.rc == status
    verdict = "pass" if held else "fail"
    assert child.results().verdict("gc-no-estale") == verdict
    last = verdicts.last(tmp_path / "reports")
    assert last
    assert last.line.startswith(f"verdict: {verdict} ")


@pytest.mark.parametrize("to", ["/dev/full", "/dev/null"])
def test_a_refused_run_whose_output_is_lost(tmp_path: Path, to: str) -> None:
    """What is refused is said on stderr, and is 2 all the same."""
    child = Child.made_of(tmp_path, {"suites/test_store.py": SUITE})
    ended = shell(child, f">{to}", "suites", "--adopt-vm", "dev")
    assert ended.rc in {2, 4}  # pytest's own, of what it could not begin
    assert "--adopt-vm means nothing" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_other_tests_whose_output_is_lost(tmp_path: Path) -> None:
    """The instrument's own end as pytest would have, and 2 where all passed."""
    own = {"tests/test_own.py": "def test_own():\n    print('x' * 100_000)\n"}
    child = Child.made_of(tmp_path, own)
    assert shell(child, ">/dev/full").stderr == LOST
    assert shell(child, ">/dev/full").rc == 2
    assert shell(child, "| head -0; exit ${PIPESTATUS[0]}").rc == 0
