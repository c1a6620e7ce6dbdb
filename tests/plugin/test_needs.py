"""A spec without a section: its criteria are not-run, with the true reason."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from harness.criteria import BY_ID
from harness.process import run
from tests.plugin.child import ROOT, Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
[vms.dev]
mac = "52:54:00:97:00:16"
ip = "10.42.97.16"
"""
MOVES = """
[migration]
vm = "dev"
temporary = "10.42.97.16"
final = "10.42.97.15"
"""
SUITE = {
    "conftest.py": """
        from harness import reference
        reference.lacking = list
    """,
    "suites/test_swap.py": """
        import pytest

        @pytest.mark.criterion("swap-keeps-address")
        def test_swap():
            raise RuntimeError("nothing to swap")

        @pytest.mark.criterion("gc-no-estale")
        def test_gc():
            pass

        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.stage("swapped")
        def test_gc_after_the_swap():
            pass

        @pytest.mark.criterion("shell-options")
        @pytest.mark.needs("vms")
        def test_two():
            raise RuntimeError("no second VM")
    """,
}


@pytest.mark.parametrize("args", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_an_absent_section_is_no_verdict(tmp_path: Path, args: tuple[str, ...]) -> None:
    """Neither failed nor broken; a criterion that needs it in part is partial."""
    child = Child.made_of(tmp_path, SUITE)
    (tmp_path / "fleet.toml").write_text(SPEC)
    assert child.run("suites", *args).rc == 5
    rows = {row.id: row for row in child.results().criteria}
    assert rows["swap-keeps-address"].verdict == "not-run"
    assert "the spec has no [migration]" in rows["swap-keeps-address"].reason
    assert rows["gc-no-estale"].verdict == "partial"
    assert rows["shell-options"].verdict == "not-run"
    assert "the spec has only one VM" in rows["shell-options"].reason


def test_the_suites_do_not_judge_what_one_vm_cannot_show(tmp_path: Path) -> None:
    """Nothing is built for it, and it is not broken."""
    spec = tmp_path / "fleet.toml"
    spec.write_text(SPEC)
    child = Child(tmp_path)
    file = str(ROOT / "suites/shell/test_host_options.py")
    place = ("--fleet", str(spec), "--report-dir", str(tmp_path / "reports"))
    ended = child.run(
        file, "-k", "autostart or cpu_weight", "-p", "timeout", "-p", "xdist", *place
    )
    assert ended.rc == 5, ended.stdout + ended.stderr
    row = next(r for r in child.results().criteria if r.id == "shell-options")
    assert row.verdict == "not-run"
    assert "(the spec has only one VM)" in row.reason
    assert "2 tests skipped" in row.reason


def test_a_need_that_no_spec_has_is_refused(tmp_path: Path) -> None:
    """A marker with a misspelt part would never skip anything."""
    suite = """
        import pytest

        @pytest.mark.criterion("shell-options")
        @pytest.mark.needs("vmz")
        def test_two():
            pass
    """
    child = Child.made_of(tmp_path, {"suites/test_shell.py": suite})
    ended = child.run("suites")
    assert ended.rc == 2
    assert "needs vmz, which is none of migration" in ended.stdout + ended.stderr


def test_spec_check_knows_of_each_need_of_a_test() -> None:
    """What a test of the suites is marked with is in the row of its criterion."""
    found = 0
    for file in (ROOT / "suites").rglob("test_*.py"):
        text = file.read_text()
        for part in re.findall(r'mark\.needs\("(.+?)"\)', text):
            found += 1
            for criterion in re.findall(r'mark\.criterion\("(.+?)"\)', text):
                row = BY_ID[criterion]
                assert part in (*row.sections, *row.partly), file
    assert found


@pytest.mark.parametrize(
    ("more", "said", "unsaid"),
    [
        ("", "swap-keeps-address: the spec has no [migration]", "gc-no-estale"),
        (MOVES, "swap-rollback: the spec has no name for", "swap-retires-old"),
        (MOVES, "forgejo-mcp-reach: the spec has no [network.services]", "bento-pull"),
        ("", "two-consumers: the spec has only one VM", "shell-lifecycle"),
        ("", "shell-options (in part): the spec has only one VM", "shell-lifecycle"),
        ("", "parallel-on-temporary-ip: the spec has no [migration]", "gc-no-estale"),
        (MOVES, "parallel-on-temporary-ip: the spec has no name for", "gc-no-estale"),
    ],
)
def test_spec_check_says_what_cannot_be_judged(
    tmp_path: Path, more: str, said: str, unsaid: str
) -> None:
    """Each criterion with what it lacks, and no others."""
    file = tmp_path / "fleet.toml"
    file.write_text(SPEC + more)
    code = "from harness.cli import main; main()"
    ended = run(
        [sys.executable, "-c", code, "spec", "check", str(file)],
        deadline=patient(40, "harness spec check"),
    )
    assert ended.rc == 0, ended.stderr
    assert said in ended.stdout
    assert unsaid not in ended.stdout
