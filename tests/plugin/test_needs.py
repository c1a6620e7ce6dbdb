"""A spec without a section: its criteria are not-run, with the true reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from tests.plugin.child import Child
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


@pytest.mark.parametrize(
    ("more", "said", "unsaid"),
    [
        ("", "swap-keeps-address: the spec has no [migration]", "gc-no-estale"),
        (MOVES, "swap-rollback: the spec has no name for", "swap-retires-old"),
        (MOVES, "forgejo-mcp-reach: the spec has no [network.services]", "bento-pull"),
        ("", "two-consumers: the spec has only one VM", "shell-options"),
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
