"""`--list-criteria`, and what misused markers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "suites/test_a.py": """
        import pytest


        @pytest.mark.criterion("gc-no-estale", "bento-pull")
        @pytest.mark.stage("onboarded")
        def test_a():
            raise SystemExit("must not run")
    """
}
MISUSED = {
    "suites/test_b.py": """
        import pytest


        @pytest.mark.criterion("gc-no-stale")
        def test_typo():
            pass


        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.stage("onborded")
        def test_stage():
            pass


        @pytest.mark.criterion("gc-no-estale")
        def test_no_stage(dev):
            pass
    """
}


def test_register_with_tests(tmp_path: Path) -> None:
    """Each row is printed with its tests; nothing runs, nothing is written."""
    child = Child.made_of(tmp_path, GOOD)
    ended = child.run("--list-criteria")
    assert ended.rc == 0, ended.stdout
    lines = ended.stdout.splitlines()
    row = lines.index("* gc-no-estale: garbage collection produces no ESTALE")
    assert lines[row + 1] == "      suites/test_a.py::test_a"
    assert "      (no test)" in lines
    assert "must not run" not in ended.stdout
    assert not (tmp_path / "reports").exists()


def test_register_without_suites(tmp_path: Path) -> None:
    """The register is printed even where there is no test at all."""
    child = Child.made_of(tmp_path, {"suites/README": ""})
    ended = child.run("--list-criteria")
    assert ended.rc == 0, ended.stdout
    assert "checkout-sops" in ended.stdout


@pytest.mark.parametrize("args", [("suites",), ("--list-criteria",)])
def test_misused_markers_are_all_told(tmp_path: Path, args: tuple[str, ...]) -> None:
    """A wrong id, a wrong stage and a missing stage are one usage error."""
    child = Child.made_of(tmp_path, MISUSED)
    ended = child.run(*args)
    assert ended.rc == pytest.ExitCode.USAGE_ERROR
    assert 'criterion("gc-no-stale") is no row of the register' in ended.stderr
    assert 'stage("onborded") is none of' in ended.stderr
    assert "it uses `dev` but does not say from which stage" in ended.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--list-criteria", "-n", "1"), "leave out -n"),
        (("suites", "--keep-machines", "-n", "1"), "leave out -n"),
        (("suites", "--fault", "nocolon"), "expected FILE:CLASS"),
        (("suites", "--accel", "xen"), "invalid choice"),
    ],
)
def test_bad_options(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    """Options that make no sense are refused in words."""
    child = Child.made_of(tmp_path, GOOD)
    ended = child.run(*args)
    assert ended.rc == pytest.ExitCode.USAGE_ERROR
    assert said in ended.stderr


def test_misuse_is_readable_from_a_worker(tmp_path: Path) -> None:
    """Under xdist the same words arrive, and the run is no success."""
    child = Child.made_of(tmp_path, MISUSED)
    ended = child.run("suites", "-n", "1")
    assert ended.rc != 0
    assert "it uses `dev` but does not say from which stage" in (
        ended.stdout + ended.stderr
    )
