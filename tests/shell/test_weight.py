"""CPU weights: which hierarchy is taken, and that the kernel really weighs."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from harness.deadline import tick
from harness.errors import HostError
from harness.process import spawn
from harness.shell import weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.site import Site

UNIFIED = "31 22 0:27 / {root} rw - cgroup2 cgroup2 rw"
OLD = "32 22 0:28 / {root} rw - cgroup cgroup rw,cpu,cpuacct"
OTHER = "33 22 0:29 / {root} rw - cgroup cgroup rw,cpuset"


def test_the_unified_hierarchy_comes_first(tmp_path: Path) -> None:
    """But only where it has the CPU controller, which the old one may have taken."""
    root = tmp_path / "unified"
    root.mkdir()
    lines = [line.format(root=root) for line in (OTHER, OLD, UNIFIED)]
    (root / "cgroup.controllers").write_text("memory pids\n")
    assert [h.unified for h in weight.mounted("\n".join(lines))] == [False]
    (root / "cgroup.controllers").write_text("cpu memory\n")
    first, *_, last = weight.mounted("\n".join(lines))
    assert (first.unified, first.root) == (True, root)
    assert not last.unified


def test_the_scale_is_systemds(tmp_path: Path) -> None:
    """100 is everyone else's weight in either hierarchy."""
    weight.Hierarchy(tmp_path, unified=True).weigh(tmp_path, 50)
    weight.Hierarchy(tmp_path, unified=False).weigh(tmp_path, 50)
    for unified in (True, False):
        assert weight.Hierarchy(tmp_path, unified=unified).weight_of(tmp_path) == 50
        root = tmp_path / "nowhere"
        assert weight.Hierarchy(root, unified=unified).weight_of(root) == 100
    assert (tmp_path / "cpu.weight").read_text() == "50"
    assert (tmp_path / "cpu.shares").read_text() == "512"


def test_groups_of_the_dead_are_swept(tmp_path: Path) -> None:
    """A killed run leaves nothing that the next one does not remove."""
    dead, ours = (tmp_path / f"vm-acceptance-{pid}" for pid in (2**22 + 1, os.getpid()))
    (dead / "dev").mkdir(parents=True)
    ours.mkdir()
    weight.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [ours]


@pytest.fixture
def given() -> Iterator[Path]:
    """Make a real group in the unified hierarchy."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    group = Path(*roots[:1], f"vm-acceptance-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no unified hierarchy to write to: {error}")
    yield group
    for made in (group / "vm-acceptance-rest", group):
        with suppress(FileNotFoundError):
            made.rmdir()


def test_a_group_that_was_given_to_us_is_divided(given: Path) -> None:
    """Its processes are moved, once; a group that was not delegated stays unchanged."""
    with spawn(["sleep", "60"]) as sleeper:
        (given / "cgroup.procs").write_text(str(sleeper.pid))
        assert not weight.delegated(given)
        with pytest.raises(OSError, match="not delegated"):
            weight.make_room(given, top=False)
        assert (given / "cgroup.procs").read_text().split() == [str(sleeper.pid)]
        for _ in range(2):
            weight.make_room(given, top=True)
            assert not (given / "cgroup.procs").read_text()
            rest = given / "vm-acceptance-rest" / "cgroup.procs"
            assert rest.read_text().split() == [str(sleeper.pid)]


def _hierarchy() -> weight.Hierarchy | None:
    for found in weight.mounted(Path("/proc/self/mountinfo").read_text()):
        try:
            found.open()
        except OSError:
            continue
        return found
    return None


@pytest.mark.skipif(_hierarchy() is None, reason="no control groups to write to")
def test_two_loops_share_a_cpu_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three to one, and afterwards no process is left in a group."""
    found = _hierarchy()
    assert found is not None
    monkeypatch.setattr(weight, "find", lambda _site: found)
    nowhere: Site = None  # type: ignore[assignment]  # `find` alone would ask it
    cpu = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        loops = []
        for name, own in (("heavy", 300), ("light", 100)):
            loop = stack.enter_context(spawn(["sh", "-c", "while :; do :; done"]))
            os.sched_setaffinity(loop.pid, {cpu})
            group = stack.enter_context(weight.weighed(nowhere, name, loop.pid, own))
            loops.append(psutil.Process(loop.pid))
        before = [loop.cpu_times().user for loop in loops]
        tick(time.monotonic(), 3.0, 1)
        heavy, light = (
            loop.cpu_times().user - then
            for loop, then in zip(loops, before, strict=True)
        )
    assert 2.25 < heavy / light < 3.75
    assert not group.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.skipif(_hierarchy() is None, reason="no control groups to write to")
def test_a_mount_of_our_own_will_do(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the site, where the host shows none; asked twice, it is the same."""
    nothing = tmp_path / "mountinfo"
    nothing.touch()
    monkeypatch.setattr(weight, "_MOUNTS", nothing)
    with spawn(["sleep", "60"]) as sleeper:
        for _ in range(2):
            with weight.weighed(site, "sleeper", sleeper.pid, 50) as group:
                assert str(site.sandbox.pid) in group.parts
                held = (group / "cgroup.procs").read_text().split()
                assert held == [str(sleeper.pid)]
    assert not group.parent.exists()


def test_where_nothing_can_be_written_the_reasons_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place that was tried, and what to do about it."""
    absent = tmp_path / "absent"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(OLD.format(root=absent))
    monkeypatch.setattr(weight, "_MOUNTS", mounts)
    monkeypatch.setattr(weight, "_private", lambda _site, _refused: ())
    site: Site = None  # type: ignore[assignment]  # `_private` alone would ask it
    with pytest.raises(HostError, match=f"{absent}: No such file") as caught:
        weight.find(site)
    assert "Delegate=yes" in caught.value.hint
