"""Every shell script of the project is clean, in the shell that it names."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from tests.gates.source import tracked
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

_SHEBANG = re.compile(rb"#!(\S+/|@)((ba)?sh|shell@)\b|#!\S+ sh\b")


def scripts() -> list[Path]:
    """List what a shell runs, by its first line or by its name."""
    return [
        path
        for path in tracked()
        if path.suffix in {".sh", ".bash"} or _SHEBANG.match(path.read_bytes())
    ]


def test_shellcheck_finds_nothing() -> None:
    """A finding that is meant has a directive with the reason."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    files = [str(path) for path in scripts()]
    assert len(files) > 40
    done = run(["shellcheck", *files], deadline=patient(50, "shellcheck"))
    assert done.rc == 0, done.stdout
