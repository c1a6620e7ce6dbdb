"""The recipe of `make accept`, on suites made for the purpose: green only if judged."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from harness.process import Completed, run
from harness.report import verdicts
from tests.plugin.child import ROOT, Child
from tests.plugin.test_exit_status import ALL_PASS
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

ONE = """
    import pytest

    from harness.evidence import Check

    @pytest.mark.criterion("gc-no-estale")
    def test_held(check):
        check(Check("held", True, True))

    @pytest.mark.criterion("gc-no-estale")
    def test_not_held(check):
        check(Check("held", False, True))
"""
OLD = "verdict: pass status=0 report=/an/earlier/one\n"


@pytest.fixture
def project(tmp_path: Path) -> Child:
    """Lay out a copy of the project with small suites and this computer's Python."""
    child = Child.made_of(
        tmp_path,
        {
            "suites/store/test_gc.py": ONE,
            "tests/test_own.py": ALL_PASS["tests/test_own.py"],
            "conftest.py": 'pytest_plugins = ["harness.plugin"]\n',
        },
    )
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    place(tmp_path / ".ci/packages", "true")
    python = shlex.quote(sys.executable)
    place(tmp_path / ".venv/bin/python", f'exec {python} "$@"')
    main = "from harness.cli import main; main()"
    place(tmp_path / ".venv/bin/harness", f"exec {python} -c '{main}' \"$@\"")
    (tmp_path / ".venv/.ready").touch()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/verdict.txt").write_text(OLD)
    return child


def place(file: Path, line: str) -> None:
    """Write a program."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)


def make(child: Child, *words: str) -> Completed:
    """Run make as a user does, whose make knows nothing of the one that tests this."""
    env = {k: v for k, v in child.env().items() if not k.startswith("MAKE")}
    return run(
        ["make", "--no-print-directory", *words],
        deadline=patient(100, "make"),
        env={k: v for k, v in env.items() if k != "MFLAGS"},
        cwd=child.directory,
    )


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ("-k nothing_x", 5),
        ("--ignore suites", 1),
        ("--ignore=suites/store", 5),
        ("--deselect suites/store", 5),
        ("--collect-only", 5),
        ("--markers", 5),
        ("--help", 5),
        ("-k test_held --report-dir {tmp}/x/suites-report", 5),
        ("--report-dir {tmp}/x/suites-report", 1),
        ("suites/store/test_gc.py::test_held", None),
        ("--version", None),
        ("-VV", None),
    ],
)
def test_what_judges_nothing_is_not_green(
    project: Child, args: str, status: int | None
) -> None:
    """Whatever ARGS contain, the suites are judged, or make ends with 2."""
    tmp = project.directory
    args = args.format(tmp=tmp)
    ended = make(project, "accept", "JOBS=1", f"ARGS={args}")
    said = ended.stdout + ended.stderr
    assert ended.rc == (2 if status != 0 else 0), said
    assert "test_own" not in said
    last = verdicts.last(tmp / ("x/suites-report" if "x/suites" in args else "reports"))
    assert (last.status if last else None) == status, said
    assert verdicts.last(tmp / "reports") != verdicts.LastVerdict(OLD.strip(), 0)


@pytest.mark.parametrize(
    ("words", "follows"),
    [
        (("SUITES=suites",), True),
        (("SUITES=suites/store",), False),
        (("SUITES=suites", "ARGS=-x"), False),
        (("SUITES=",), False),
    ],
)
def test_what_make_would_run(
    project: Child, words: tuple[str, ...], *, follows: bool
) -> None:
    """The old verdict goes first; faults are injected after whole runs only."""
    said = make(project, "-n", "accept", *words).stdout
    assert said.index("rm -f reports/verdict.txt") < said.index("--must-judge")
    assert ("controls --fast" in said) == follows
    assert os.path.lexists(project.directory / "reports/verdict.txt")
