"""A selection of tests: what it decides, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

SUITES = {
    "suites/store/test_gc.py": """
        import pytest

        from harness.evidence import Check

        pytestmark = pytest.mark.criterion("gc-no-estale")


        @pytest.mark.fastest
        def test_old(check):
            check(Check("held", True, True))


        @pytest.mark.parametrize("n", [1, 2])
        def test_more(check, n):
            check(Check("held", True, True))


        @pytest.mark.thorough
        def test_long(check):
            check(Check("held", True, True))


        @pytest.mark.adopted
        def test_units(check):
            check(Check("held", True, True))
    """,
    "suites/boot/test_boot.py": """
        import pytest

        from harness.evidence import Check


        @pytest.mark.criterion("reboot-boots-guest-kernel")
        def test_boot(check):
            check(Check("held", True, True))


        @pytest.mark.criterion("swap-rollback", "swap-keeps-address")
        def test_both(check):
            check(Check("held", True, True))
    """,
    "suites/other/test_more.py": """
        import pytest

        pytestmark = pytest.mark.criterion("swap-rollback")

        def test_skipped():
            pytest.skip("nothing to see")

        @pytest.mark.xfail(strict=False)
        def test_red():
            assert False
    """,
}
GC = "suites/store/test_gc.py"


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """Lay out three suites."""
    return Child.made_of(tmp_path_factory.mktemp("partial"), SUITES)


@pytest.mark.parametrize(
    ("args", "rc", "verdict"),
    [
        ((f"{GC}::test_old",), 5, "partial"),
        ((f"{GC}::test_old", f"{GC}::test_more[1]", "suites/boot"), 5, "partial"),
        (("suites/store", "--deselect", f"{GC}::test_old"), 5, "partial"),
        (("suites", "-k", "test_more"), 5, "partial"),
        (("suites", "-o", "python_functions=test_old"), 5, "partial"),
        (("--criterion", "gc-no-estale", "--fastest", "-n", "1"), 5, "partial"),
        ((f"{GC}::test_old", "--allow-partial"), 0, "partial"),
        ((f"{GC}::test_old", f"{GC}::test_more"), 0, "pass"),
        (("suites/store", "-n", "1"), 0, "pass"),
        (("--criterion", "gc-no-estale"), 0, "pass"),
        (("suites/store", "-k", "nothing"), 5, "not-run"),
        (("suites/store", "-k", "nothing", "--allow-partial"), 5, "not-run"),
        ((f"{GC}::test_units",), 5, "not-run"),
    ],
)
def test_a_pass_needs_all_that_decide(
    child: Child, args: tuple[str, ...], rc: int, verdict: str
) -> None:
    """By path, option or configuration: less than all is no pass and not green."""
    ended = child.run(*args)
    assert ended.rc == rc, ended.stdout + ended.stderr
    results = child.results()
    assert results.verdict("gc-no-estale") == verdict
    assert (results.run.status, results.run.full) == (rc, "-o" in args)
    word = "pass" if verdict == "pass" else "undecided"
    line = f"verdict: {word} status={rc} report={child.latest}"
    assert ended.stdout.splitlines()[-1] == line
    assert (child.directory / "reports/verdict.txt").read_text() == f"{line}\n"


def test_a_partial_row_counts_and_names(child: Child) -> None:
    """What ran of how many, and what did not; a skip with its reason."""
    child.run(f"{GC}::test_old", "suites/other", "suites/boot")
    rows = {row.id: row for row in child.results().criteria}
    assert rows["gc-no-estale"].reason == (
        "1 of 3 tests passed; not run: test_more[1], test_more[2]"
    )
    assert rows["gc-no-estale"].missing == (
        f"{GC}::test_more[1]",
        f"{GC}::test_more[2]",
    )
    rollback = rows["swap-rollback"]
    assert rollback.verdict == "partial"
    assert (
        "test_skipped (nothing to see), test_red (expected to fail" in rollback.reason
    )
    assert rows["swap-keeps-address"].verdict == "pass"


def test_a_torn_suite_keeps_a_selection_from_passing(tmp_path: Path) -> None:
    """It is unknown what is in a file that cannot be imported."""
    torn = {"suites/torn/test_torn.py": "import nothing_of_this_name\n"}
    child = Child.made_of(tmp_path, SUITES | torn)
    assert child.run("suites/store").rc == 5
    reason = "4 of 5 tests passed; not run: suites/torn/test_torn.py"
    rows = {row.id: row.reason for row in child.results().criteria}
    assert rows["gc-no-estale"] == reason


@pytest.mark.parametrize(
    ("args", "rc", "said"),
    [
        (("suites", "--must-judge", "--collect-only"), 5, "undecided"),
        (("suites", "--must-judge", "--help"), 5, "undecided"),
        (("suites", "--must-judge", "--ignore=suites"), 5, "undecided"),
        (("suites/nowhere", "--must-judge"), 2, "error"),
        (("tests", "--must-judge"), 2, "error"),
        (("--must-judge",), 2, "error"),
    ],
)
def test_nothing_judged_is_never_green(
    child: Child, args: tuple[str, ...], rc: int, said: str
) -> None:
    """Whatever the options are; the last line says so."""
    ended = child.run(*args)
    assert ended.rc == rc, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"verdict: {said} status={rc}")
