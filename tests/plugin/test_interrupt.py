"""Ctrl-C: the report of what was done until then."""

from __future__ import annotations

import os
import signal
import uuid
from typing import TYPE_CHECKING

import pytest

from harness.deadline import poll
from harness.process import spawn
from tests.offspring import offspring
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


HELD = {
    "suites/test_hold.py": """
        from pathlib import Path

        import pytest

        from harness.deadline import Deadline, poll
        from harness.process import spawn

        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.parametrize("number", [1, 2])
        def test_hold(number):
            with spawn(["sleep", "1000"]):
                Path(f"up-{number}").touch()
                poll(lambda: None, Deadline.after(100, "the end"))
    """,
}
# A shell that starts a command with `&`, and nohup, ignore these for it.
DEAF = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
GONE_WITHIN_S = 2.0
# What xdist takes to hear that a worker has ended in order, and to write a report.
UNWOUND_WITHIN_S = 10.0


@pytest.mark.parametrize("prefix", [[], DEAF], ids=["", "deaf to Ctrl-C"])
@pytest.mark.parametrize("number", ["KILL", "HUP", "TERM"])
def test_workers_and_their_children_end_with_the_controller(
    tmp_path: Path, number: str, prefix: list[str]
) -> None:
    """At once where it is killed; in order, with a report, where it is asked to end."""
    sign = signal.Signals[f"SIG{number}"]
    child, mark = Child.made_of(tmp_path, HELD), f"run-{uuid.uuid4()}"
    argv = [*prefix, *child.argv("suites", "-n", "2")]
    with spawn(argv, env={**child.env(), "MARK": mark}, cwd=tmp_path) as process:
        up = [tmp_path / "up-1", tmp_path / "up-2"]
        begun = patient(40, "two tests to begin")
        poll(lambda: all(path.exists() for path in up) or None, begun)
        assert len(offspring(mark)) >= 5
        process.send_signal(sign)
        within = GONE_WITHIN_S if sign is signal.SIGKILL else UNWOUND_WITHIN_S
        gone = patient(within, f"all of the run to be gone after SIG{number}")
        poll(
            lambda: None if process.poll() is None or offspring(mark) else True,
            gone,
            seen=lambda: "\n".join(offspring(mark).values()),
        )
    if sign is not signal.SIGKILL:
        assert child.results().run.interrupted


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
    assert rc == 128 + number
    results = child.results()
    assert results.run.interrupted
    outcomes = {t.nodeid.rpartition("::")[2]: t.outcome for t in results.tests}
    assert outcomes == {"test_quick": "passed", "test_slow": "broken"}
    assert [n.rpartition("::")[2] for n in results.run.unrun] == ["test_later"]
    assert results.verdict("switch-keeps-sessions") == "pass"
    assert results.verdict("gc-no-estale") == "broken"
    assert results.verdict("swap-keeps-address") == "not-run"
    assert "begun" in [c.name for t in results.tests for c in t.checks]
