"""Ctrl-C: the report of what was done until then."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from harness.deadline import poll
from harness.process import spawn
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

SUITE = {
    "suites/test_slow.py": """
        import threading
        from pathlib import Path

        import pytest

        from harness.evidence import Check


        @pytest.mark.criterion("switch-keeps-sessions")
        def test_quick(check):
            check(Check("done", True, True))


        @pytest.mark.criterion("gc-no-estale")
        def test_slow(check):
            check(Check("begun", True, True))
            Path("running").touch()
            threading.Event().wait(40)


        @pytest.mark.criterion("gc-no-estale", "swap-keeps-address")
        def test_later():
            pass
    """
}


@pytest.mark.parametrize(
    ("args", "number"),
    [
        ((), signal.SIGINT),
        (("-n", "1"), signal.SIGINT),
        ((), signal.SIGTERM),
    ],
    ids=["plain", "xdist", "terminated"],
)
def test_interrupt_leaves_a_report(
    tmp_path: Path, args: tuple[str, ...], number: signal.Signals
) -> None:
    """Ctrl-C ends a run at once, with a report that says what was not judged."""
    child = Child.made_of(tmp_path, SUITE)
    # A terminal sends Ctrl-C to the whole group, workers too.
    argv = ["setsid", *child.argv("suites", *args)]
    with spawn(argv, env=child.env(), cwd=tmp_path) as process:
        running = tmp_path / "running"
        deadline = patient(40, "the slow test to begin")
        poll(lambda: running.exists() or None, deadline)
        os.killpg(process.pid, number)
        rc = process.wait(20)
    assert rc == pytest.ExitCode.INTERRUPTED
    results = child.results()
    assert results.run.interrupted
    outcomes = {t.nodeid.rpartition("::")[2]: t.outcome for t in results.tests}
    assert outcomes == {"test_quick": "passed", "test_slow": "broken"}
    assert [n.rpartition("::")[2] for n in results.run.unrun] == ["test_later"]
    assert results.verdict("switch-keeps-sessions") == "pass"
    assert results.verdict("gc-no-estale") == "broken"
    assert results.verdict("swap-keeps-address") == "not-run"
    assert "begun" in [c.name for t in results.tests for c in t.checks]
