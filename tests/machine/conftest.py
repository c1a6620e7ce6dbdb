"""A real site, a real QEMU with a tap on it, and a guest of one boot sector."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.fleet import NetworkSpec, Vm
from harness.host import QEMU, TCG
from harness.machine import Machine, NoHooks, launch, restore
from harness.process import run
from harness.site import Site, open_site
from harness.site.sandbox import unshare
from tests.machine.sector_agent import SectorAgent, serve
from tests.qemu.sector import base_image
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.qemu import MachinePlan

VM = Vm(
    name="sector",
    mac="52:54:00:00:00:01",
    ip=IPv4Address("10.42.97.16"),
    mem=128,
    vcpu=1,
    disk_size_g=1,
)
# Tests say for themselves how long they wait in vain.
ACCELERATOR = replace(TCG, patience=1.0)


class Apart(NoHooks):
    """Keeps QEMU's sockets out of the way of the agent that the test plays."""

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Move them into a directory below."""
        return replace(plan, directory=plan.directory / "emulator", tb_size=16)


APART = Apart()


@pytest.fixture(scope="session")
def capable() -> None:
    """Skip where there is no QEMU, or namespaces are not allowed."""
    for program in (QEMU, "qemu-img"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is missing or closed to this user")
    argv = [*unshare(rootless=os.geteuid() != 0), "true"]
    tried = run(argv, deadline=patient(10, "namespaces"))
    if tried.rc != 0:
        pytest.skip(f"namespaces are not allowed here: {tried.stderr.strip()}")


@dataclass
class Bench:
    """Where machines are tried out."""

    site: Site
    base: Path
    directory: Path

    @contextmanager
    def launched(
        self, name: str = "one", **options: Any
    ) -> Iterator[tuple[Machine, SectorAgent]]:
        """Boot a machine, whose agent is played by ours."""
        directory = self._made(name)
        with (
            serve(directory) as agent,
            launch(
                VM,
                self.site,
                self.base,
                directory,
                ACCELERATOR,
                hooks=APART,
                **options,
            ) as machine,
        ):
            deadline = patient(20, "the guest")
            machine.console.wait_for("saved .\n", deadline)
            yield machine, agent

    @contextmanager
    def restored(
        self, saved: Path, name: str, boot_id: str, **options: Any
    ) -> Iterator[tuple[Machine, SectorAgent]]:
        """Continue a machine, whose agent is played by ours."""
        directory = self._made(name)
        with serve(directory) as agent:
            agent.boot_id = boot_id
            with restore(
                saved,
                options.pop("vm", VM),
                self.site,
                directory,
                ACCELERATOR,
                hooks=APART,
                **options,
            ) as machine:
                yield machine, agent

    def _made(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir(mode=0o700)
        return directory


@pytest.fixture(scope="session")
def site(capable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Hold one site for all machines."""
    _ = capable
    directory = tmp_path_factory.mktemp("site")
    deadline = patient(20, "a site")
    with open_site(NetworkSpec(), directory, deadline=deadline) as site:
        yield site


@pytest.fixture(scope="session")
def image(capable: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the guest's image, once; machines only build on it."""
    _ = capable
    return base_image(tmp_path_factory.mktemp("sector") / "base.qcow2")


@pytest.fixture
def bench(site: Site, image: Path) -> Iterator[Bench]:
    """Give a bench whose paths are short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="harness-", dir="/tmp") as path:
        yield Bench(site, image, Path(path))
