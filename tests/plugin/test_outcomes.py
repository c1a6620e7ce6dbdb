"""One run of a suite in which every kind of thing happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from harness.process import Completed
    from harness.report import Results

SUITE = {
    "suites/sessions/test_all.py": """
        import threading

        import pytest

        from harness.evidence import Check

        from harness.errors import GuestFailure, MachineDied, NotExercised

        criterion = pytest.mark.criterion


        @criterion("switch-keeps-sessions")
        @pytest.mark.stage("onboarded")
        def test_good(check):
            check(Check("pids", [412, 412], [412, 412]))


        @criterion("gc-no-estale")
        def test_soft(check):
            check(Check("one", "first thing", "another"))
            check(Check("two", True, True))
            check(Check("three", "third thing", "another"))


        @criterion("gc-no-estale")
        def test_assertion():
            assert 1 == 2


        @criterion("reboot-boots-guest-kernel")
        def test_guest():
            raise GuestFailure("no reboot", seen="the old boot_id")


        @criterion("swap-keeps-address")
        def test_not_exercised(check):
            check(Check("early", "seen before", "another"))
            raise NotExercised("the swap", seen="nothing moved")


        @criterion("inodes-within-budget")
        def test_skipped():
            pytest.skip("no inodes here")


        @criterion("bento-pull")
        def test_bug():
            {}["key"]


        @pytest.fixture
        def dies_before():
            raise MachineDied("QEMU died before")


        @criterion("two-consumers")
        def test_setup(dies_before):
            pass


        @pytest.fixture
        def dies_after():
            yield
            raise MachineDied("QEMU died after")


        @criterion("shell-options")
        def test_teardown(dies_after):
            pass


        @criterion("swap-rollback")
        def test_failed_then_teardown(dies_after, check):
            check.require(Check("reached", "no answer", "an answer"))


        @criterion("shell-lifecycle")
        @pytest.mark.timeout(0.2)
        def test_timeout():
            threading.Event().wait(20)


        @criterion("onboard-infect")
        def test_plain_fail():
            pytest.fail("does not do")


        @criterion("ingress-auth")
        @pytest.mark.xfail(reason="not built", strict=True)
        def test_expected():
            assert False


        @criterion("onboard-secrets")
        @pytest.mark.xfail(reason="not built", strict=True)
        def test_unexpected():
            pass
    """
}

OUTCOMES = {
    "good": ("passed", ""),
    "soft": ("failed", 'one: expected another; seen "first thing" (+1 more)'),
    "assertion": ("failed", "assert 1 == 2"),
    "guest": ("failed", "no reboot"),
    "not_exercised": (
        "broken",
        "test precondition not met: expected the swap, nothing moved",
    ),
    "skipped": ("skipped", "no inodes here"),
    "bug": ("broken", "KeyError: 'key'"),
    "setup": ("broken", "QEMU died before"),
    "teardown": ("broken", "QEMU died after"),
    "failed_then_teardown": (
        "failed",
        'reached: expected "an answer"; seen "no answer"',
    ),
    "timeout": ("broken", "took longer than its timeout of 0.2 s"),
    "plain_fail": ("failed", "does not do"),
    "expected": ("skipped", "expected to fail: not built"),
    "unexpected": ("failed", "[XPASS(strict)] not built"),
}

VERDICTS = {
    "switch-keeps-sessions": "pass",
    "gc-no-estale": "fail",
    "reboot-boots-guest-kernel": "fail",
    "swap-keeps-address": "broken",
    "inodes-within-budget": "not-run",
    "bento-pull": "broken",
    "shell-options": "broken",
    "swap-rollback": "fail",
    "ingress-auth": "not-run",
    "parallel-on-temporary-ip": "not-run",
    "checkout-sops": "not-run",
}


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """Lay out the suite."""
    return Child.made_of(tmp_path_factory.mktemp("child"), SUITE)


@pytest.fixture(scope="module")
def ended(child: Child) -> Completed:
    """Run it."""
    return child.run("suites")


@pytest.fixture(scope="module")
def results(child: Child, ended: Completed) -> Results:
    """Read what it left."""
    assert ended.rc == 1
    return child.results()


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(results: Results, name: str) -> None:
    """Each way to end has its outcome, and its reason's first line."""
    test = next(t for t in results.tests if t.nodeid.endswith(f"::test_{name}"))
    assert (test.outcome, test.reason.partition("\n")[0]) == OUTCOMES[name]


@pytest.mark.parametrize("criterion", VERDICTS)
def test_verdict(results: Results, criterion: str) -> None:
    """Each criterion's verdict follows from its tests."""
    assert results.verdict(criterion) == VERDICTS[criterion]


def test_every_row_is_there(results: Results) -> None:
    """Rows without tests are there too, with a reason."""
    assert len(results.criteria) == 23
    assert all(row.reason for row in results.criteria)


def test_all_soft_failures_are_named(results: Results, ended: Completed) -> None:
    """Report and terminal name every check that did not hold."""
    soft = next(t for t in results.tests if t.nodeid.endswith("::test_soft"))
    assert [c.name for c in soft.checks if not c.ok] == ["one", "three"]
    assert "third thing" in soft.reason
    assert '| three: expected another; seen "third thing"' in ended.stdout


def test_checks_before_a_break_are_told(results: Results) -> None:
    """A test that broke after a failed check stays broken and reports the check."""
    test = next(t for t in results.tests if "not_exercised" in t.nodeid)
    assert "before that: failed checks: early" in test.reason


def test_what_broke_after_a_failure_is_told(results: Results) -> None:
    """A failure keeps its verdict when tearing down breaks, and reports both."""
    test = next(t for t in results.tests if "failed_then" in t.nodeid)
    assert "then teardown broken: QEMU died after" in test.reason


def test_stage_and_evidence_are_recorded(child: Child, results: Results) -> None:
    """A test's stage and the files it left are in its row."""
    test = results.tests[0]
    assert test.stage == "onboarded"
    assert test.evidence
    assert all((child.latest / path).is_file() for path in test.evidence)


def test_one_line_per_test(ended: Completed) -> None:
    """The terminal shows each finished test on a line of its own."""
    for name, (outcome, reason) in OUTCOMES.items():
        lines = [
            line
            for line in ended.stdout.splitlines()
            if f"::test_{name}  " in f"{line}  " and outcome in line and " s  " in line
        ]
        assert len(lines) == 1, name
        assert reason.partition("\n")[0] in lines[0]


def test_broken_is_counted_apart(ended: Completed) -> None:
    """The summary of pytest itself keeps broken and failed apart."""
    assert "BROKEN suites/sessions/test_all.py::test_bug" in ended.stdout
    assert "FAILED suites/sessions/test_all.py::test_guest" in ended.stdout
    assert "6 failed" in ended.stdout


def test_the_table_ends_the_run(ended: Completed) -> None:
    """The table of criteria names verdict and evidence, and where the report is."""
    _, _, table = ended.stdout.partition("acceptance criteria")
    row = next(line for line in table.splitlines() if "* gc-no-estale" in line)
    assert "fail" in row
    assert "evidence/sessions.all.soft" in row
    assert "index.html" in table


def test_other_files_are_written(child: Child, results: Results) -> None:
    """The report is whole, and nothing of the run's own is left in it."""
    assert results.run.full
    names = {path.name for path in child.latest.iterdir()}
    assert names == {"results.json", "junit.xml", "index.html", "evidence"}
