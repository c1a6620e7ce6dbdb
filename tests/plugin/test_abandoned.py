"""Runs that were killed: what a later command makes of their reports."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.process import PIPE, Completed, run, spawn
from harness.report import abandoned, load
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.process import Popen

SUITE = {
    "suites/test_slow.py": """
        import os
        import threading
        from pathlib import Path

        import pytest

        from harness.evidence import Check
        from harness.plugin.run import RUN, current
        from harness.runtime import runtime_directory


        @pytest.mark.criterion("switch-keeps-sessions")
        def test_quick(check):
            check(Check("done", True, True))


        @pytest.mark.criterion("gc-no-estale")
        def test_slow(check, request):
            request.config.stash[RUN].fact("accel", "tcg")
            check(Check("begun", True, True))
            if "HOLD" in os.environ:
                with runtime_directory() as directory:
                    current(request.node).machine("dev", directory)
                    (directory / "console.log").write_text("Linux version\\n")
                    Path("running").touch()
                    threading.Event().wait(60)


        @pytest.mark.criterion("gc-no-estale", "swap-keeps-address")
        def test_later():
            pass
    """
}
SAID = "its run was killed; folded: 1 of 3 tests ended"


def harness(child: Child, *args: str) -> Completed:
    """Run a command of the harness in the project."""
    code = "from harness.cli import main; main()"
    return run(
        [sys.executable, "-c", code, *args],
        deadline=Deadline.after(50, "a command to end"),
        env=child.env(),
        cwd=child.directory,
    )


@contextmanager
def holding(child: Child, *args: str) -> Iterator[Popen[bytes]]:
    """Run pytest until its second test runs, and keep it there."""
    argv = child.argv("suites", *args)
    running = child.directory / "running"
    running.unlink(missing_ok=True)
    env = {**child.env(), "HOLD": "1"}
    with spawn(argv, env=env, cwd=child.directory) as process:
        poll(lambda: running.exists() or None, patient(40, "the slow test to begin"))
        yield process
        process.kill()
        process.wait(20)


def killed(child: Child, *args: str) -> Path:
    """Leave a report whose run was killed."""
    before = set(child.reports)
    with holding(child, *args):
        pass
    (report,) = set(child.reports) - before
    assert not (report / "results.json").exists()
    return report


def hold_to_the_truth(report: Path) -> None:
    """Check that a folded report says what the run had done."""
    results = load(report / "results.json")
    assert results.run.interrupted
    assert (results.run.verdict, results.run.status) == ("interrupted", 130)
    assert (results.run.id, results.run.accel) == (report.name, "tcg")
    assert results.run.full
    outcomes = {t.nodeid.rpartition("::")[2]: t.outcome for t in results.tests}
    assert outcomes == {"test_quick": "passed", "test_slow": "broken"}
    assert [n.rpartition("::")[2] for n in results.run.unrun] == ["test_later"]
    assert results.verdict("switch-keeps-sessions") == "pass"
    assert results.verdict("gc-no-estale") == "broken"
    assert results.verdict("swap-keeps-address") == "not-run"
    assert "begun" in [c.name for t in results.tests for c in t.checks]
    assert "test_later" in (report / "index.html").read_text()
    assert (report / "junit.xml").is_file()
    console = report / "machines" / "dev@slow.slow" / "console.log"
    assert console.read_text() == "Linux version\n"
    assert not (report / ".journal").exists()


@pytest.mark.parametrize("args", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_the_next_run_folds_it(tmp_path: Path, args: tuple[str, ...]) -> None:
    """At its start, with one line; its own report is whole as ever."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child, *args)
    told = child.run("suites", *args)
    assert told.stdout.count(f"report {report}: {SAID}") == 1
    assert told.rc == 5  # not all criteria have tests here
    hold_to_the_truth(report)
    assert child.latest != report
    assert not child.results().run.interrupted
    assert "killed" not in child.run("suites", "-k", "quick").stdout


@pytest.mark.parametrize("whole", [True, False], ids=["reports", "the report"])
def test_verdict_folds_it(tmp_path: Path, *, whole: bool) -> None:
    """Of a directory of reports or of one; `unfinished` is true no longer."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child)
    told = harness(child, "verdict", "reports" if whole else str(report))
    assert (told.rc, SAID in told.stderr) == (130, True), told
    assert told.stdout == f"verdict: interrupted status=130 report={report}\n"
    assert (tmp_path / "reports/verdict.txt").read_text() == told.stdout
    hold_to_the_truth(report)
    assert child.latest == report
    again = harness(child, "verdict", str(report))
    assert (again.rc, again.stdout) == (130, told.stdout)
    assert SAID not in again.stderr


def test_judge_folds_it(tmp_path: Path) -> None:
    """A report is judged again, though its run was killed."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child)
    (tmp_path / "fleet.toml").write_text("[vms.dev]\n")
    told = harness(child, "judge", str(report))
    assert SAID in told.stderr, told
    hold_to_the_truth(report)


def test_a_run_that_is_alive_is_left_alone(tmp_path: Path) -> None:
    """By runs, and by commands, which say that it goes on."""
    child = Child.made_of(tmp_path, SUITE)
    with holding(child):
        (alive,) = child.reports
        journals = sorted((alive / ".journal").glob("*.jsonl"))
        text = journals[0].read_text()
        other = child.run("suites", "-k", "quick")
        assert "killed" not in other.stdout + other.stderr
        for command in ("verdict", "judge"):
            said = harness(child, command, str(alive))
            assert (said.rc, said.stdout) == (2, "")
            assert "its run goes on" in said.stderr
        assert not (alive / "results.json").exists()
        assert journals[0].read_text().startswith(text)


def test_two_that_fold_at_once(tmp_path: Path) -> None:
    """One of them folds, the other passes it over."""
    child = Child.made_of(tmp_path, SUITE)
    killed(child)
    code = (
        "import pathlib; from harness.report.abandoned import sweep;"
        "print(*sweep(pathlib.Path('reports').absolute()))"
    )
    argv = [sys.executable, "-c", code]
    with ExitStack() as stack:
        procs = [
            stack.enter_context(spawn(argv, env=child.env(), cwd=tmp_path, stdout=PIPE))
            for _ in range(4)
        ]
        said = [process.communicate(timeout=50)[0].decode() for process in procs]
    assert [process.returncode for process in procs] == [0] * 4
    assert "".join(said).count(SAID) == 1
    assert "cannot be folded" not in "".join(said)


def test_results_that_were_written_are_kept(tmp_path: Path) -> None:
    """A run killed while it drew its page has its verdict already."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child)
    journals = report / ".journal"
    copy = {p.name: p.read_bytes() for p in journals.iterdir() if p.is_file()}
    child.run("suites", "-k", "quick")
    (report / "index.html").unlink()
    text = (report / "results.json").read_text()
    text = text.replace('"verdict": "interrupted"', '"verdict": "undecided"')
    (report / "results.json").write_text(text)
    journals.mkdir()
    for name, content in copy.items():
        (journals / name).write_bytes(content)
    assert len(abandoned.sweep(tmp_path / "reports")) == 1
    assert (report / "results.json").read_text() == text
    assert (report / "index.html").is_file()


def test_a_report_of_an_older_version_waits_a_day(tmp_path: Path) -> None:
    """Without a lock a run is gone when its journals are silent for that long."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child)
    (report / ".journal" / "lock").unlink()
    assert abandoned.sweep(tmp_path / "reports") == []
    for path in (*(report / ".journal").iterdir(), report / ".journal"):
        os.utime(path, (0, 0))
    assert len(abandoned.sweep(tmp_path / "reports")) == 1
    hold_to_the_truth(report)


def test_what_cannot_be_folded_ends_no_run(tmp_path: Path) -> None:
    """One line says it; the run judges all the same."""
    child = Child.made_of(tmp_path, SUITE)
    report = killed(child)
    (record,) = report.glob("evidence/slow.slow/record.json")
    record.write_text('{"checks": [{"nonsense": 1}]}')
    told = child.run("suites", "-k", "quick")
    assert told.stdout.count(f"report {report}: its run was killed; it cannot be") == 1
    assert "INTERNALERROR" not in told.stdout
    assert "verdict: " in told.stdout.splitlines()[-1]
    assert (report / ".journal").is_dir()


def test_a_run_killed_before_it_found_a_test_leaves_nothing(tmp_path: Path) -> None:
    """Its empty directory is removed without a word."""
    files = {"suites/test_stuck.py": "import os; os.kill(os.getpid(), 9)"}
    child = Child.made_of(tmp_path, files)
    child.run("suites")
    assert len(child.reports) == 1
    assert abandoned.sweep(tmp_path / "reports") == []
    assert child.reports == []


def test_a_run_without_tests_of_suites_leaves_no_directory(tmp_path: Path) -> None:
    """Nor does one whose tests are only listed."""
    child = Child.made_of(tmp_path, SUITE)
    child.run("suites", "-k", "nothing_of_that_name", "--collect-only")
    child.run("suites/nowhere.py")
    assert not (tmp_path / "reports").exists()


def test_latest_never_points_to_nothing(tmp_path: Path) -> None:
    """It is mended when the report was removed, and removed with the last one."""
    child = Child.made_of(tmp_path, SUITE)
    child.run("suites", "-k", "quick")
    first, link = child.latest, tmp_path / "reports/latest"
    link.unlink()
    link.symlink_to("20200101T000000Z-abcd")
    assert harness(child, "verdict", "reports/latest").rc == 0
    assert child.latest == first
    for path in first.iterdir():
        path.unlink() if path.is_file() else None
    first.rename(tmp_path / "elsewhere")
    assert harness(child, "verdict", "reports/latest").rc == 2
    assert not link.is_symlink()


SLOW_END = {
    "suites/test_end.py": """
        import threading
        from pathlib import Path

        import pytest

        @pytest.fixture
        def machine():
            yield
            Path("tearing").touch()
            threading.Event().wait(60)

        @pytest.mark.criterion("switch-keeps-sessions")
        def test_quick():
            pass

        @pytest.mark.criterion("gc-no-estale")
        def test_slow(machine):
            Path("running").touch()
            threading.Event().wait(60)
    """
}


@pytest.mark.parametrize("args", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_ctrl_c_twice_and_more_keeps_the_table(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    """The second ends what is being taken down; the next ones end nothing more."""
    child = Child.made_of(tmp_path, SLOW_END)
    argv = ["setsid", *child.argv("suites", *args)]
    output = tmp_path / "output.txt"
    with (
        output.open("wb") as out,
        spawn(argv, env=child.env(), cwd=tmp_path, stdout=out, stderr=out) as process,
    ):
        running, tearing = tmp_path / "running", tmp_path / "tearing"
        poll(lambda: running.exists() or None, patient(40, "the slow test to begin"))
        os.killpg(process.pid, signal.SIGINT)
        poll(lambda: tearing.exists() or None, patient(40, "its teardown to begin"))

        def hammer() -> int | None:
            if output.read_bytes().count(b"verdict: ") == 0:
                os.killpg(process.pid, signal.SIGINT)
            return process.poll()

        rc = poll(hammer, patient(40, "the run to end"))
    text = output.read_text()
    assert rc == 130, text
    assert "acceptance criteria" in text
    assert text.splitlines()[-1].startswith("verdict: interrupted status=130 report=")
    assert (
        tmp_path / "reports/verdict.txt"
    ).read_text() == f"{text.splitlines()[-1]}\n"
    results = child.results()
    assert results.run.interrupted
    assert results.verdict("switch-keeps-sessions") == "pass"
    assert results.verdict("gc-no-estale") == "broken"


def test_ctrl_c_while_tests_are_listed(tmp_path: Path) -> None:
    """It has the status of a signal, though no report was begun."""
    stuck = "from pathlib import Path; import threading\n"
    stuck += "Path('running').touch(); threading.Event().wait(60)"
    child = Child.made_of(tmp_path, {"suites/test_stuck.py": stuck})
    output = tmp_path / "output.txt"
    with (
        output.open("wb") as out,
        spawn(child.argv("suites"), env=child.env(), cwd=tmp_path, stdout=out) as proc,
    ):
        running = tmp_path / "running"
        poll(lambda: running.exists() or None, patient(40, "the collection to begin"))
        proc.send_signal(signal.SIGINT)
        assert proc.wait(20) == 130
    last = output.read_text().splitlines()[-1]
    assert last == "verdict: interrupted status=130"
    assert child.reports == []
