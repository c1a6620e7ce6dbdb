"""Runtime directories: private, short, and swept after a kill."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from harness.deadline import poll
from harness.errors import HostError
from harness.process import kill, spawn
from harness.runtime import runtime_directory
from tests.plugin.child import ROOT
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

HOLD = (
    "import sys, time; from pathlib import Path;"
    "from harness.runtime import runtime_directory;"
    "import contextlib; s = contextlib.ExitStack();"
    "d = s.enter_context(runtime_directory(Path(sys.argv[1])));"
    "(d / 'disk').touch(); sys.stdin.read()"
)


def test_private_and_short() -> None:
    """A directory is this user's alone, and leaves room for a socket's name."""
    with runtime_directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        assert directory.parent.stat().st_mode & 0o777 == 0o700
        socket = directory / "99" / ("v" * 15) / ("s" * 20)
        assert len(str(socket)) < 107
    assert not directory.exists()


def test_swept_after_a_kill_and_only_then(tmp_path: Path) -> None:
    """The next run removes what a killed one left, and leaves a living one alone."""
    root = tmp_path / "root"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", HOLD, str(root)]
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, spawn(argv, stdin=stdin, env=env) as child:
        disk = poll(
            lambda: next(iter(root.glob("*/disk")), None),
            patient(20, "another process to hold a directory"),
        )
        with runtime_directory(root):
            assert disk.exists()
        kill(child.pid)
        child.wait()
        assert disk.exists()
        with runtime_directory(root) as mine:
            assert not disk.exists()
            assert mine.is_dir()
    os.close(writing)


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    """A place that others can write to is no place for machines."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    with pytest.raises(HostError, match="0700"), runtime_directory(root):
        pass
