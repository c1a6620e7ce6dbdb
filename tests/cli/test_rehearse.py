"""`harness rehearse`: what it refuses, what it runs, and how it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import process
from harness.cli.rehearse import status_of
from harness.criteria import Outcome
from harness.exits import Exit
from suites.network.rehearse_swap import latest
from tests.report import samples
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def harness(*words: str, cwd: Path = ROOT) -> process.Completed:
    """Run the command line to its end, without a terminal."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    deadline = patient(30, "harness")
    return process.run([*HARNESS, *words], deadline=deadline, cwd=cwd, env=env)


def test_all_that_is_missing_is_one_message(tmp_path: Path) -> None:
    """A terminal, a checkout, a spec with a migration: before anything starts."""
    text = (ROOT / "fleet.toml").read_text()
    before, _, after = text.partition("\n[migration]")
    spec = tmp_path / "fleet.toml"
    spec.write_text(f"{before}\n[ingress]{after.partition('[ingress]')[2]}")
    said = harness("rehearse", "swap", cwd=tmp_path)
    assert said.rc == Exit.ERROR
    assert "standard input: a terminal, or --script" in said.stderr
    assert "the checkout, where suites/*/rehearse_swap.py is" in said.stderr
    assert "[migration]: needed for a swap" in said.stderr
    assert "Traceback" not in said.stderr
    assert harness("rehearse", "flood").rc == Exit.ERROR


def test_it_is_not_among_the_suites() -> None:
    """A run of the suites must not wait for a person; named, there are two ways."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0"]
    deadline = patient(60, "pytest")
    every = process.run([*argv, "suites/network"], deadline=deadline, cwd=ROOT)
    assert "test_swap_moves_the_address" in every.stdout
    assert "rehearse" not in every.stdout
    named = process.run(
        [*argv, "suites/network/rehearse_swap.py"], deadline=deadline, cwd=ROOT
    )
    assert "::test_swap_by_hand" in named.stdout
    assert "::test_swap_by_script" in named.stdout


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.PASSED, Exit.PASS),
        (Outcome.FAILED, Exit.FAIL),
        (Outcome.BROKEN, Exit.BROKEN),
        (Outcome.UNRUN, Exit.UNDECIDED),
    ],
)
def test_it_ends_as_its_test_did(outcome: Outcome, status: Exit) -> None:
    """One test is no verdict about a criterion, but it is all that was asked."""
    results = samples.results()
    test = results.tests[0].model_copy(update={"outcome": outcome})
    assert status_of(results.model_copy(update={"tests": (test,)})) == status
    assert status_of(results.model_copy(update={"tests": ()})) == Exit.UNDECIDED


def test_the_last_record_of_a_kind_counts() -> None:
    """Of those that a watcher has written so far; there may be none yet."""
    records: list[dict[str, Any]] = [
        {"kind": "arp", "at": 1},
        {"kind": "arp", "at": 2},
        {"kind": "beat"},
    ]
    assert latest(records, "arp") == {"kind": "arp", "at": 2}
    assert latest(records, "dns") == {}
