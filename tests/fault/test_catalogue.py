"""The built-in faults: enough of them, and each can be detected."""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.criteria import DECIDING
from harness.errors import InputError
from harness.fault import Fault, built_in, load
from harness.fault.ingress import IngressFault
from harness.fleet import Endpoint, load_fleet
from harness.plugin.markers import Subject
from harness.plugin.selection import Selection
from harness.process import run
from harness.site import Setup
from harness.site.ingress import render
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
NAMES = tuple(built_in())

COLLECT = """
import json, sys, pytest

class Print:
    def pytest_collection_finish(self, session):
        from harness.plugin.markers import subject_of  # after pytest has rewritten it
        subjects = [subject_of(item) for item in session.items]
        rows = [[s.nodeid, s.criteria, s.scenarios, s.fastest] for s in subjects]
        print("SUBJECTS", json.dumps(rows), flush=True)

argv = ["--collect-only", "--thorough", "-q", "-s", "-p", "no:cacheprovider"]
sys.exit(pytest.main([*argv, sys.argv[1]], [Print()]))
"""

THIRD_PARTY = """
from harness.fault import Fault, must_fail

class Mine(Fault):
    '''A third party's system breaks.'''

    name = "mine"
    source = "our ticket 12"
    expects = must_fail("gc-no-estale", "the store verifies against its database")

class Unfit(Fault):
    name = "Un fit"
    expects = must_fail("gc-no-stale")
"""


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    """Read the markers of all tests of our suites."""
    ended = run(
        [sys.executable, "-c", COLLECT, str(ROOT / "suites")],
        deadline=patient(50, "the suites to be collected"),
        cwd=ROOT,
    )
    _, mark, text = ended.stdout.partition("SUBJECTS ")
    assert mark, ended.stdout + ended.stderr
    rows = json.loads(text.splitlines()[0])
    return [Subject(r[0], tuple(r[1]), None, tuple(r[2]), tuple(r[3])) for r in rows]


def selection(fault: Fault) -> Selection:
    """Parse the options that a fault gives to pytest."""
    words = fault.selection
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return Selection(
        tuple(value for option, value in pairs if option == "--criterion"),
        tuple(value for option, value in pairs if option == "--scenario"),
    )


def test_five_faults_for_each_deciding_criterion() -> None:
    """And at least eight harmless variants."""
    count = Counter(c for kind in built_in().values() for c in kind.expects)
    assert {c: count[c] for c in DECIDING if count[c] < 5} == {}
    assert sum(kind.benign for kind in built_in().values()) >= 8


def test_every_criterion_with_tests_has_a_fault(subjects: list[Subject]) -> None:
    """A criterion that nothing was ever seen to fail proves nothing."""
    covered = {c for kind in built_in().values() for c in kind.expects}
    assert {c for subject in subjects for c in subject.criteria} - covered == set()


def test_no_two_faults_of_one_name() -> None:
    """The second would hide the first."""
    places = [
        node.targets[0].id == "name" and ast.literal_eval(node.value)
        for file in (ROOT / "harness/fault").glob("*.py")
        for kind in ast.parse(file.read_text()).body
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    twice = [n for n, times in Counter(filter(None, places)).items() if times > 1]
    assert twice == []


def test_one_fast_fault_for_each_deciding_criterion() -> None:
    """What every acceptance run makes touches all five."""
    fast = [c for kind in built_in().values() if kind.fast for c in kind.expects]
    assert sorted(fast) == sorted(DECIDING)


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_a_fault_exist(name: str, subjects: list[Subject]) -> None:
    """A scenario that no test exercises would judge nothing."""
    assert selection(load(name)).unmatched(subjects) == []


def test_every_deciding_criterion_has_a_fastest_test(subjects: list[Subject]) -> None:
    """`harness before-after` and `harness soak --short` run these alone."""
    chosen = Selection(criteria=DECIDING, fastest=True)
    assert chosen.unmatched(subjects) == []
    assert len([s for s in subjects if chosen.includes(s)]) == len(DECIDING)


def test_every_test_names_its_scenario(subjects: list[Subject]) -> None:
    """So that a fault can select each of them; and no two share one by accident."""
    assert [s.nodeid for s in subjects if not s.scenarios] == []
    named = {
        (criterion, scenario, subject.nodeid.partition("[")[0])
        for subject in subjects
        for criterion in subject.criteria
        for scenario in subject.scenarios
    }
    twice = Counter((criterion, scenario) for criterion, scenario, _ in named)
    assert [pair for pair, times in twice.items() if times > 1] == []


def test_faults_of_the_web_vm_change_its_setup() -> None:
    """Each finds its line in nginx's configuration, or another certificate."""
    fleet = load_fleet(ROOT / "fleet.toml")
    assert fleet.ingress is not None
    assert fleet.migration is not None
    upstream = Endpoint(fleet.migration.final, fleet.lab.port)
    text = render(fleet.ingress, upstream, Path("/web.d"))
    healthy = Setup(text, (fleet.ingress.name, fleet.ingress.portal))
    kinds = [kind for kind in built_in().values() if issubclass(kind, IngressFault)]
    for kind in kinds:
        fault = kind()
        fault.alter_spec(fleet)
        assert fault.change(healthy) != healthy, kind.name
    assert len(kinds) >= 5


def test_third_party_faults(tmp_path: Path) -> None:
    """A class in a file is loaded, and one that cannot be judged is refused whole."""
    file = tmp_path / "theirs.py"
    file.write_text(THIRD_PARTY)
    mine = load(f"{file}:Mine")
    assert (mine.name, mine.selection) == ("mine", ("--criterion", "gc-no-estale"))
    with pytest.raises(InputError) as caught:
        load(f"{file}:Unfit")
    assert {fault.key for fault in caught.value.mistakes} == {
        "name",
        "docstring",
        "source",
        "expects",
        "expects.gc-no-stale",
    }
    with pytest.raises(InputError, match=r"subclasses of .* there: Mine, Unfit"):
        load(f"{file}:Missing")
    with pytest.raises(InputError, match="no built-in fault is named"):
        load("nothing-like-it")
    with pytest.raises(InputError, match="there is no file"):
        load(f"{tmp_path}/nowhere.py:Mine")


def test_the_digest_follows_the_source(tmp_path: Path) -> None:
    """So that a stage with a fault of older code is never used as today's."""
    file = tmp_path / "theirs.py"
    file.write_text(THIRD_PARTY)
    mine = load(f"{file}:Mine")
    before = mine.digest
    assert mine.digest == before
    file.write_text(THIRD_PARTY + "\n# changed\n")
    assert mine.digest != before


def test_spoiling_is_an_override() -> None:
    """Only a fault that has something to do gets a stage of its own."""

    class CountsInjections(Fault):
        def inject_once(self, machine: object, inputs: object) -> None:
            """Do something."""

    assert CountsInjections().injects_once
    assert not Fault().injects_once
