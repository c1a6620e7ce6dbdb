"""Workers of xdist: merged, also when they die."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from harness.process import Completed
    from harness.report import Results

SUITE = {
    "suites/test_dying.py": """
        import os
        import signal
        from pathlib import Path

        import pytest

        from harness.evidence import Check

        from harness.plugin.run import RUN, current
        from harness.runtime import runtime_directory


        @pytest.mark.criterion("gc-no-estale")
        def test_dies(check, request):
            check(Check("before", "recorded in time", "recorded in time"))
            with runtime_directory() as directory:
                Path("directory").write_text(str(directory))
                current(request.node).machine("dev", directory)
                said = "Linux version\\npassword: hunter2\\n"
                (directory / "console.log").write_text(said)
                (directory / "seed.iso").write_text("secret")
                request.config.stash[RUN].step("about to die")
                os.kill(os.getpid(), signal.SIGKILL)
    """,
    "suites/test_living.py": """
        import pytest

        from harness.evidence import Check


        @pytest.mark.criterion("switch-keeps-sessions")
        @pytest.mark.parametrize("n", range(4))
        def test_lives(check, n, request):
            check(Check("number", n, n))
            from harness.plugin.run import RUN

            run = request.config.stash[RUN]
            run.fact("accel", "tcg")
            run.timing("restore", 0.5 + n)
    """,
}


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """Lay out a suite of which one test kills its process."""
    return Child.made_of(tmp_path_factory.mktemp("child"), SUITE)


@pytest.fixture(scope="module")
def ended(child: Child) -> Completed:
    """Run it on two workers."""
    return child.run("suites", "-n", "2")


@pytest.fixture(scope="module")
def results(child: Child, ended: Completed) -> Results:
    """Read what it left."""
    assert ended.rc == 3
    return child.results()


def test_the_dead_test_is_broken(results: Results) -> None:
    """A test whose process died is broken, and so is its criterion."""
    (dead,) = (t for t in results.tests if t.nodeid.endswith("test_dies"))
    assert (dead.outcome, dead.reason) == ("broken", "the process that ran it died")
    assert results.verdict("gc-no-estale") == "broken"


def test_what_it_recorded_survives(results: Results) -> None:
    """Checks made before the end are in the report."""
    (dead,) = (t for t in results.tests if t.nodeid.endswith("test_dies"))
    assert [(c.name, c.seen) for c in dead.checks] == [("before", "recorded in time")]


def test_its_machine_is_salvaged(child: Child, results: Results) -> None:
    """The console of its machine is kept, without secrets and without its seed."""
    (dead,) = (t for t in results.tests if t.nodeid.endswith("test_dies"))
    (machine,) = dead.machines
    assert machine == "machines/dev@dying.dies"
    files = {p.name: p.read_text() for p in (child.latest / machine).iterdir()}
    assert files == {"console.log": "Linux version\npassword: [redacted]\n"}


def test_its_run_directory_is_removed(child: Child, ended: Completed) -> None:
    """At once, by the controller: no later run is needed."""
    _ = ended
    left = (child.directory / "directory").read_text()
    assert not Path(left).exists()


def test_the_others_are_merged(results: Results) -> None:
    """Tests of the other workers are there once each, in the order of collection."""
    names = [t.nodeid.rpartition("::")[2] for t in results.tests]
    assert names == ["test_dies", *(f"test_lives[{n}]" for n in range(4))]
    assert results.verdict("switch-keeps-sessions") == "pass"


def test_facts_and_timings_of_all_workers(results: Results) -> None:
    """What workers learned about the run is in its provenance."""
    assert results.run.accel == "tcg"
    assert results.timings.restore_s is not None
    assert (results.timings.restore_s.p50, results.timings.restore_s.n) == (2.0, 4)


def test_progress_reaches_the_terminal(ended: Completed) -> None:
    """A line from within a worker is shown, with the worker's name."""
    (line,) = (x for x in ended.stdout.splitlines() if "about to die" in x)
    assert " gw" in line


def test_one_report(child: Child, results: Results) -> None:
    """Controller and workers share one report."""
    assert [path.name for path in child.reports] == [results.run.id]
