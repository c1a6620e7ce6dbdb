"""A host's store and its sidecars: one view for each guest, and none outlives it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import HarnessError, HostError, SiteDied
from harness.fleet import NetworkSpec
from harness.host import virtiofsd
from harness.qemu import Ram, Share
from harness.shell import HostSystem, ModuleShell, Recipe, Shares, gateway_of, shared
from harness.site import open_site
from tests.machine.conftest import ACCELERATOR, VM
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.qemu import MachinePlan
    from harness.site import Site
    from tests.machine.conftest import Bench


@pytest.fixture
def host(capable: None, tmp_path: Path) -> HostSystem:
    """Lay out a host's system of three store paths, one of which has a root."""
    _ = capable
    if os.geteuid() != 0:
        pytest.skip("microvms need root")
    try:
        virtiofsd()
    except HostError as error:
        pytest.skip(error.summary)
    for name in ("aaa-system", "bbb-tool", "ccc-old", ".links"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "file").write_text(name)
    (tmp_path / "usr").mkdir()
    return HostSystem(
        home=tmp_path,
        system="/nix/store/aaa-system",
        params="console=ttyS0",
        tool="/nix/store/bbb-tool",
        rooted=("aaa-system",),
    )


def test_a_hosts_system_reads_back(host: HostSystem) -> None:
    """What it boots follows from it; a directory without one is refused."""
    host.write()
    assert HostSystem.read(host.home) == host
    assert host.boots.append == (
        "init=/nix/store/aaa-system/init console=ttyS0 rdinit=/microvm-init"
    )
    with pytest.raises(HarnessError, match="not a host's system"):
        HostSystem.read(host.store)


def test_a_host_collects_under_one_guest_alone(bench: Bench, host: HostSystem) -> None:
    """What has no root goes from that guest's view, and from nowhere else."""
    with (
        shared(bench.site, host, bench.directory / "one") as one,
        shared(bench.site, host, bench.directory / "two") as two,
    ):
        assert one.store.collect_garbage() == ("bbb-tool", "ccc-old")
        assert one.store.names() == ("aaa-system",)
        assert one.store.collect_garbage() == ()
        assert len(two.store.names()) == 3
        kept = ["ls", "-A", _view(one)]
        said = bench.site.sandbox.run(kept, deadline=soon()).stdout.split()
        assert said == [".links", "aaa-system"]
    assert len(list(host.store.iterdir())) == 4


def test_sidecars_live_as_long_as_their_start(bench: Bench, host: HostSystem) -> None:
    """Two for each start; a crash of QEMU ends them, and the next has new ones."""
    with shared(bench.site, host, bench.directory / "s") as shares:
        shell = _shell(bench, shares)
        assert sidecars(shares) == set()
        shell.start(soon())
        first = sidecars(shares)
        assert {source for _, source in first} == {str(host.base), _view(shares)}
        shell.emulator.kill()
        shell.close()
        assert sidecars(shares) == set()
        shell.start(soon())
        second = sidecars(shares)
        assert len(second) >= 2
        assert not first & second
        shell.close()
        assert sidecars(shares) == set()


def test_sidecars_die_with_the_capsule(
    bench: Bench, host: HostSystem, tmp_path: Path
) -> None:
    """The kernel ends them; no process is left to do it one by one."""
    deadline = patient(20, "a site")
    opened = open_site(NetworkSpec(), tmp_path / "site", deadline=deadline)
    with pytest.raises(SiteDied), opened as site:
        lose(site, host, bench.directory / "s")


def lose(site: Site, host: HostSystem, directory: Path) -> None:
    """End a site under its shares as a SIGKILL of this process would."""
    with shared(site, host, directory) as shares, shares.serve():
        cut(site, shares)
    assert not Path(_view(shares), "aaa-system").exists()


def cut(site: Site, shares: Shares) -> None:
    """Cut the life line."""
    assert len(sidecars(shares)) >= 2
    site.sandbox.control.close()
    poll(
        lambda: None if sidecars(shares) else True,
        Deadline.after(5, "the sidecars to be gone"),
    )


def sidecars(shares: Shares) -> set[tuple[int, str]]:
    """List PID and source of what serves these shares, on this whole computer."""
    ours = {f"source={s}" for s in (_view(shares), str(shares.store.host.base))}
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                found |= {
                    (int(entry.name), word.removeprefix("source="))
                    for word in ours.intersection(words)
                }
    return found


def _view(shares: Shares) -> str:
    return str(shares.store.directory)


def _shell(bench: Bench, shares: Shares) -> ModuleShell:
    """Make a shell that runs the boot-sector guest with the shares' devices."""
    directory = bench.directory / "one"
    directory.mkdir(mode=0o700)

    def planned(plan: MachinePlan) -> MachinePlan:
        # The guest itself knows no kernel, so all but the direct boot is a microvm's.
        return replace(
            plan,
            ram=Ram(path=directory, shared=True),
            shares=tuple(Share(tag=t, socket=s) for t, s in shares.sockets.items()),
        )

    recipe = Recipe(
        vm=VM,
        directory=directory,
        accelerator=ACCELERATOR,
        gateway=gateway_of(bench.site),
        base=bench.base,
        adapt=planned,
    )
    return ModuleShell(recipe, bench.site, sidecars=shares.serve)


def soon() -> Deadline:
    """Give up after 20 s."""
    return patient(20, "the test")
