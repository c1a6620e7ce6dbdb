"""One cause, one message: before the first test, or at the first one that meets it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from harness.criteria import Outcome
from harness.process import run
from tests.plugin.child import ROOT, Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

MANY = """
    import pytest

    from harness.errors import HarnessError, HostError

    @pytest.fixture(scope="session")
    def base():
        raise HostError("no mirror answers", hint="name another one")

    @pytest.fixture(scope="session")
    def broken():
        raise HarnessError("QEMU ended after 1.5 s", evidence=["its last words"])

    @pytest.mark.criterion("gc-no-estale")
    @pytest.mark.parametrize("n", range(9))
    def test_base(base, n):
        pass

    @pytest.mark.criterion("inodes-within-budget")
    @pytest.mark.parametrize("n", range(3))
    def test_broken(broken, n):
        pass

    @pytest.mark.criterion("gc-no-estale")
    def test_own():
        raise HarnessError("a cause of its own")

    @pytest.mark.criterion("gc-no-estale")
    @pytest.mark.parametrize("n", range(2))
    def test_fails(n):
        assert False, "the same words about the subject"
"""


@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_a_cause_is_reported_once(tmp_path: Path, args: tuple[str, ...]) -> None:
    """The first test has all its words; the others name it, and stay broken."""
    child = Child.made_of(tmp_path, {"suites/test_store.py": MANY})
    ended = child.run("suites", *args)
    said = ended.stdout + ended.stderr
    assert said.count("hint: name another one") == 1
    assert said.count("| its last words") == 1
    assert said.count("Traceback") == 0
    assert "10 same cause" in said
    assert len(said.splitlines()) < 150
    results = child.results()
    broken = [t for t in results.tests if t.outcome is Outcome.BROKEN]
    assert len(broken) == 13
    whole = [t for t in broken if not t.reason.startswith("same cause as ")]
    assert len(whole) == 3
    folded = next(t for t in broken if t.reason.startswith("same cause as "))
    assert folded.reason.partition("as ")[2].startswith("suites/test_store.py::test_")
    # What a test says of the subject is never folded.
    failed = [t.reason for t in results.tests if t.outcome is Outcome.FAILED]
    assert len(failed) == 2
    assert all("the same words" in reason for reason in failed)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "xdist"])
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--guest", "nosuch"), "--guest = nosuch: reference"),
        (("--report-dir", "file"), "file is something else"),
        (("--report-dir", "file/below"), "file is something else"),
        (("--report-dir", "circle"), "a place that can be written"),
        (("--report-dir", "/proc/reports"), "--report-dir = /proc/reports"),
        (("--adopt-unit", "pipe.service"), "it is a pipe"),
        (("--adopt-unit", "zero.service"), "it is a device"),
        (("--adopt-unit", "file", "--adopt-vm", "dve"), "did you mean dev?"),
        (("--fleet", "pipe.toml"), "it is a pipe"),
        (("--fleet", "zero.toml"), "it is a device"),
    ],
)
def test_what_holds_for_all_tests_is_said_before_the_first(
    tmp_path: Path, args: tuple[str, ...], words: str, workers: tuple[str, ...]
) -> None:
    """One message and status 2; nothing is written, and no test is collected."""
    child = Child.made_of(tmp_path, {"suites/test_store.py": MANY})
    (tmp_path / "fleet.toml").write_text((ROOT / "fleet.toml").read_text())
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for suffix in ("service", "toml"):
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    ended = child.run("suites", *args, *workers)
    said = ended.stdout + ended.stderr
    assert ended.rc == 2, said
    assert words in said
    assert "Traceback" not in said
    assert "collected" not in said
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&- >/dev/null", ">&- 2>&-"])
def test_an_output_that_is_closed_changes_no_status(
    tmp_path: Path, closed: str
) -> None:
    """Pytest itself would end with an AttributeError about None."""
    child = Child.made_of(tmp_path, {"suites/test_store.py": MANY})
    for args, status in ((("--list-criteria",), 0), (("--criterion", "nosuch"), 2)):
        ended = run(
            ["bash", "-c", f"{shlex.join(child.argv(*args))} {closed}"],
            deadline=patient(50, "a child pytest"),
            env=child.env(),
            cwd=tmp_path,
        )
        assert ended.rc == status
        assert "Traceback" not in ended.stderr
