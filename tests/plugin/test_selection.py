"""`--criterion`, `--scenario` and `--fastest` select tests, or list the known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.exits import Exit
from harness.plugin.markers import Subject
from harness.plugin.selection import Selection
from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

GC = Subject("gc", ("gc-no-estale",), None, ("old", "aged"), ("gc-no-estale",))
SWITCH = Subject("switch", ("gc-no-estale", "bento-pull"), None, ("switch",))
SUITES = {
    "suites/test_gc.py": """
        import pytest

        pytestmark = pytest.mark.criterion("gc-no-estale")


        @pytest.mark.scenario("old")
        @pytest.mark.fastest
        def test_old():
            pass


        @pytest.mark.scenario("switch")
        @pytest.mark.thorough
        def test_switch():
            pass
    """,
    "suites/test_swap.py": """
        import pytest


        @pytest.mark.criterion("swap-keeps-address")
        @pytest.mark.scenario("old")
        def test_swap():
            pass
    """,
    "tests/test_instrument.py": """
        def test_instrument():
            raise AssertionError("it is of no suite")
    """,
}
CONTESTED = """
    import pytest

    @pytest.mark.criterion("gc-no-estale")
    @pytest.mark.fastest
    def test_new():
        pass

    @pytest.mark.criterion("bento-pull")
    @pytest.mark.fastest("gc-no-estale")
    def test_other():
        pass
"""


@pytest.mark.parametrize(
    ("args", "ran"),
    [
        (("--criterion", "gc-no-estale"), {"test_old", "test_switch"}),
        (("--scenario", "old"), {"test_old", "test_swap"}),
        (("--criterion", "gc-no-estale", "--scenario", "old"), {"test_old"}),
        (("--fastest", "suites"), {"test_old"}),
        (("--fastest", "-n", "1"), {"test_old"}),
    ],
)
def test_selected_tests_run(
    tmp_path: Path, args: tuple[str, ...], ran: set[str]
) -> None:
    """Those and no others, with any paths, and the five do not decide the run."""
    child = Child.made_of(tmp_path, SUITES)
    ended = child.run(*args)
    assert ended.rc == 0, ended.stdout + ended.stderr
    results = child.results()
    assert {test.nodeid.rpartition("::")[2] for test in results.tests} == ran
    assert not results.run.full
    assert args[0] in results.run.selection
    assert str(tmp_path) not in results.run.selection


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("--criterion", "gc-no-estale", "--scenario", "aged"),
            "--scenario aged; there are:\n  gc-no-estale: old (fastest), switch\n",
        ),
        (("--scenario", "aged"), "  swap-keeps-address: old\n"),
        (("--criterion", "bento-pull"), "  bento-pull: no test\n"),
        (("--criterion", "gc-no-stale"), "no row of the register: switch-keeps"),
        (
            ("--criterion", "swap-keeps-address", "--fastest"),
            "  swap-keeps-address: old\n",
        ),
    ],
)
def test_a_selection_without_tests_is_an_error(
    tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    """It is no green run of nothing; the message lists what could be selected."""
    child = Child.made_of(tmp_path, SUITES)
    ended = child.run(*args)
    assert ended.rc == Exit.ERROR
    assert said in ended.stderr
    assert child.reports == []


def test_a_worker_selects_no_test(tmp_path: Path) -> None:
    """Under xdist the run fails too, and its report has the message."""
    child = Child.made_of(tmp_path, SUITES)
    ended = child.run("--scenario", "aged", "-n", "1")
    assert ended.rc != 0
    assert "selects no test for --scenario aged" in ended.stdout + ended.stderr


def test_a_criterion_has_one_fastest_test(tmp_path: Path) -> None:
    """And only a test that judges it."""
    child = Child.made_of(tmp_path, {**SUITES, "suites/test_new.py": CONTESTED})
    ended = child.run("--list-criteria")
    assert ended.rc == Exit.ERROR
    assert "gc-no-estale has 3 tests marked fastest" in ended.stderr
    assert "fastest for gc-no-estale, which it does not judge" in ended.stderr


def test_the_register_has_scenarios(tmp_path: Path) -> None:
    """`--list-criteria` shows what can be selected."""
    listed = Child.made_of(tmp_path, SUITES).listed()
    assert "suites/test_gc.py::test_old (old, fastest)" in listed
    assert "suites/test_gc.py::test_switch (switch)" in listed


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(criteria=("bento-pull",)), [SWITCH]),
        (Selection(criteria=("gc-no-estale",), fastest=True), [GC]),
        (Selection(scenarios=("aged", "switch")), [GC, SWITCH]),
        (Selection(criteria=("bento-pull",), fastest=True), []),
    ],
)
def test_selection(selection: Selection, chosen: list[Subject]) -> None:
    """Criteria narrow what scenarios and `fastest` are looked for in."""
    subjects = [GC, SWITCH, Subject("unmarked", ())]
    assert [s for s in subjects if selection.includes(s)] == chosen
    assert bool(selection.unmatched(subjects)) == (not chosen)


def test_each_part_must_select_a_test() -> None:
    """One criterion of two without a test, or one scenario of two, is a mistake."""
    both = Selection(criteria=("gc-no-estale", "bento-pull"), scenarios=("old", "new"))
    assert both.unmatched([GC, SWITCH])[0].endswith(
        "selects no test for --criterion bento-pull, --scenario new; there are:"
    )
