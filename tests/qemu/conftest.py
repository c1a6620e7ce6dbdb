"""Fixtures for tests that run a real QEMU, with a guest of one boot sector or none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.host import QEMU
from tests.qemu.sector import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def qemu_installed() -> None:
    """Skip where there is no QEMU."""
    for program in (QEMU, "qemu-img"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def directory(qemu_installed: None) -> Iterator[Path]:
    """Give a run directory with a path short enough for sockets."""
    _ = qemu_installed
    with tempfile.TemporaryDirectory(prefix="harness-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def pristine(qemu_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the boot-sector guest's image, once."""
    _ = qemu_installed
    return base_image(tmp_path_factory.mktemp("sector") / "base.qcow2")


@pytest.fixture
def sector(pristine: Path, tmp_path: Path) -> Path:
    """Give the boot-sector guest's image, to write to or to build on."""
    return Path(shutil.copy(pristine, tmp_path / "base.qcow2"))
