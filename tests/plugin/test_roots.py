"""The root is where `conftest.py` names the plugin, whatever lies above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "conftest.py": 'pytest_plugins = ["harness.plugin"]\n',
    "suites/test_gc.py": """
        import pytest

        @pytest.mark.criterion("gc-no-estale")
        def test_gc():
            pass
    """,
}
ABOVE = "[pytest]\naddopts = -p xdist -p timeout -p harness.plugin\n"


@pytest.mark.parametrize(
    "args",
    [
        ("suites", "--collect-only", "-q", "--report-dir", "../elsewhere"),
        ("--criterion", "gc-no-estale", "--report-dir", "../elsewhere"),
        ("suites", "--rootdir=.."),
        ("suites", "-c", "../pytest.ini"),
        ("suites", "../beside"),
    ],
    ids=" ".join,
)
def test_the_root_does_not_move(tmp_path: Path, args: tuple[str, ...]) -> None:
    """Node ids, reports and what decides stay the project's."""
    (tmp_path / "pytest.ini").write_text(ABOVE)
    (tmp_path / "beside").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project").mkdir()
    child = Child.made_of(tmp_path / "project", FILES)
    ended = child.run(*args)
    if "-q" in args:
        assert "suites/test_gc.py::test_gc" in ended.stdout.splitlines()
        return
    reports = tmp_path / ("elsewhere" if "--report-dir" in args else "project/reports")
    assert (reports / "latest/results.json").is_file(), ended.stdout + ended.stderr
    text = (reports / "latest/results.json").read_text()
    assert '"nodeid": "suites/test_gc.py::test_gc"' in text
