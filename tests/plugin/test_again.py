"""A test with a kernel panic under emulation runs again; no other runs twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

SUITE = {
    "suites/test_panics.py": """
        import pytest

        from harness.evidence import Check

        from harness.errors import GuestPanicked, MachineDied

        pytestmark = pytest.mark.criterion("gc-no-estale")
        tries = []


        @pytest.fixture
        def machine(request, check):
            tries.append(request.node.name)
            check.note(f"machine {tries.count(request.node.name)}")
            yield tries.count(request.node.name)
            tries.append("down")


        def test_once(machine):
            if machine == 1:
                raise GuestPanicked("the guest kernel panicked")


        def test_always(machine):
            raise GuestPanicked("the guest kernel panicked")


        def test_judged_before(machine, check):
            check(Check("seen", "it was wrong already", "right"))
            raise GuestPanicked("the guest kernel panicked")


        def test_another_end(machine):
            raise MachineDied("QEMU is gone")


        @pytest.fixture
        def boots(machine):
            if machine == 1:
                raise GuestPanicked("the guest kernel panicked")


        def test_in_setup(boots):
            pass


        def test_all_were_taken_down():
            assert tries.count("down") == len(tries) / 2
    """
}
EMULATED = """


def pytest_configure(config):
    from harness.plugin.run import EMULATED

    config.stash[EMULATED] = True
"""
OUTCOMES = {
    "once": ("passed", "machine 2"),
    "always": ("broken", "machine 2"),
    "judged_before": ("broken", "machine 1"),
    "another_end": ("broken", "machine 1"),
    "in_setup": ("passed", "machine 2"),
    "all_were_taken_down": ("passed", ""),
}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_panic_of_the_emulators_is_no_end(tmp_path: Path, workers: str) -> None:
    """The second try counts, and both have their evidence."""
    child = Child.made_of(tmp_path, SUITE)
    with (tmp_path / "conftest.py").open("a") as more:
        more.write(EMULATED)
    ended = child.run("suites", "-n", workers)
    results = child.results()
    for name, (outcome, last) in OUTCOMES.items():
        test = next(t for t in results.tests if t.nodeid.endswith(f"::test_{name}"))
        assert (test.outcome, *test.notes[-1:]) == (outcome, *[last][: bool(last)]), (
            name
        )
        again = [note for note in test.notes if note.startswith("run again")]
        assert bool(again) == (last == "machine 2"), name
    assert len(results.tests) == len(OUTCOMES)
    (first,) = tmp_path.glob("reports/2*/evidence/panics.once/record.json")
    assert "machine 1" in first.read_text()
    assert ended.stdout.count("running again") == 3
    assert "3 passed" in ended.stdout


def test_a_real_computers_panic_is_an_end(tmp_path: Path) -> None:
    """Under KVM nothing is run twice."""
    child = Child.made_of(tmp_path, SUITE)
    child.run("suites", "-k", "test_once")
    (test,) = (t for t in child.results().tests if t.nodeid.endswith("::test_once"))
    assert (test.outcome, test.notes) == ("broken", ("machine 1",))
