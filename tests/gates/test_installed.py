"""What another project gets: a wheel with suites, and a first test in eight lines."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.process import Completed, run

ROOT = Path(__file__).parents[2]
FIRST = '''\
"""A first test."""

import pytest

from harness import Check, Machine, Recorder, at_most


@pytest.mark.criterion("shell-options")
@pytest.mark.stage("cloud")
def test_memory(dev: Machine, check: Recorder) -> None:
    """The guest has no more memory than the spec gives it."""
    check(Check("memory", dev.system.memory_mib(), at_most(dev.vm.mem)))
'''
TOOLS = Path(sys.executable).parent
# mypy without a cache takes long on a busy computer.
PATIENT = pytest.mark.timeout(240)


def call(argv: list[str], cwd: Path, seconds: float = 100) -> Completed:
    """Run a tool with an environment that knows nothing of this pytest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    kept.pop("PYTHONPATH", None)
    return run(argv, deadline=Deadline.after(seconds, argv[0]), cwd=cwd, env=kept)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Copy the project with a suite that has the first test alone; return its file."""
    for name in ("harness", "suites"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "suites/first/test_first.py"
    file.parent.mkdir()
    file.with_name("__init__.py").write_text('"""A first suite."""\n')
    file.write_text(FIRST)
    return file


def test_a_first_test_has_eight_lines() -> None:
    """Blank ones do not count."""
    assert len([line for line in FIRST.splitlines() if line]) == 8


def test_a_first_test_passes_the_linters(tmp_path: Path, suite: Path) -> None:
    """Format, rules and contracts, as they are for our own suites."""
    ruff = str(TOOLS / "ruff")
    for argv in (
        [ruff, "format", "--check", "--no-cache", str(suite)],
        [ruff, "check", "--no-cache", str(suite)],
        [str(TOOLS / "lint-imports"), "--no-cache"],
    ):
        ended = call(argv, tmp_path)
        assert ended.rc == 0, ended.stdout + ended.stderr


@PATIENT
def test_a_first_test_is_typed(tmp_path: Path) -> None:
    """A public name has its type, and one that does not exist is a mistake."""
    file, wrong = tmp_path / "test_first.py", tmp_path / "test_wrong.py"
    file.write_text(FIRST)
    wrong.write_text(FIRST.replace("memory_mib", "memory_gib") + "harness.Nothing\n")
    mypy = [str(TOOLS / "mypy"), "--strict"]
    ended = call([*mypy, str(file), str(wrong)], ROOT, 200)
    assert ended.rc == 1, ended.stdout + ended.stderr
    assert 'has no attribute "memory_gib"' in ended.stdout
    assert f"{file}:" not in ended.stdout


@PATIENT
def test_the_wheel_serves_another_project(tmp_path: Path) -> None:
    """Installed elsewhere it brings plugin, suites and command; no conftest needed."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index"]
    build += ["--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    assert call(build, tmp_path).check()
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    call([sys.executable, "-m", "venv", "--without-pip", str(place)], tmp_path).check()
    python = str(place / "bin/python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    call([*install, "--no-deps", "--no-index", str(wheel)], tmp_path).check()
    # The packages that it depends on are this environment's own.
    (site,) = place.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    project = tmp_path / "project"
    (project / "acceptance").mkdir(parents=True)
    (project / "acceptance/test_first.py").write_text(FIRST)
    (project / "pytest.ini").write_text(
        "[pytest]\nacceptance_suites = acceptance suites\n"
    )
    listed = call([python, "-m", "pytest", "--list-criteria"], project)
    assert listed.rc == 0, listed.stdout + listed.stderr
    assert "acceptance/test_first.py::test_memory\n" in listed.stdout
    assert "boot/test_reboot.py" in listed.stdout
    collected = call(
        [python, "-m", "pytest", "--pyargs", "suites", "--collect-only", "-q"], project
    )
    assert "test_gc_of_old_generations" in collected.stdout
    fault = call([str(place / "bin/harness"), "controls", "--list"], project)
    assert "killmode-control-group" in fault.stdout
