"""The boot menu and the files it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from nixguest import grub

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {
    "configurationLimit": 100,
    "default": "0",
    "device": "nodev",
    "extraConfig": "serial --unit=0",
    "timeout": 0,
}
SEARCH = "search --set=drive1 --fs-uuid 1234"


class GrubDisk:
    """A store, a profile directory and a /boot, all in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        self.profiles = root / "profiles"
        self.boot = root / "boot"
        for directory in (self.store, self.profiles, self.boot):
            directory.mkdir()

    def generation(self, number: int, kernel: str) -> Path:
        """Build a system with a kernel of this content and link it as a generation."""
        system = self.store / f"{number}-nixos-system"
        system.mkdir()
        for part in ("kernel", "initrd"):
            file = self.store / f"{kernel}-{part}"
            file.write_text(f"{kernel} {part}")
            (system / part).symlink_to(file)
        (system / "kernel-params").write_text(f"generation={number}\n")
        (system / "nixos-version").write_text("25.11")
        (self.profiles / f"system-{number}-link").symlink_to(system)
        return system

    def install(self, system: Path, **settings: object) -> str:
        """Run the installer; the new menu."""
        grub.install(
            str(system),
            SETTINGS | settings,
            boot=str(self.boot),
            profiles=str(self.profiles),
            search=SEARCH,
        )
        return (self.boot / "grub/grub.cfg").read_text()

    @property
    def kernels(self) -> set[str]:
        """The content of what lies in /boot/kernels."""
        return {path.read_text() for path in (self.boot / "kernels").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> GrubDisk:
    """Return a machine without generations."""
    return GrubDisk(tmp_path)


def test_default_then_all_generations_newest_first(machine: GrubDisk) -> None:
    """The first entry is the system being installed, then come all, newest first."""
    machine.generation(1, "old")
    machine.generation(9, "old")
    menu = machine.install(machine.generation(10, "new"))
    lines = [line.strip() for line in menu.splitlines()]
    titles = [line.split('"')[1] for line in lines if "menu" in line.split(" ")[0]]
    assert titles[:2] == ["NixOS - Default", "NixOS - All configurations"]
    numbers = [title.split()[3] for title in titles[2:]]
    assert numbers == ["10", "9", "1"]
    linux = [line for line in lines if line.startswith("linux ")]
    assert "generation=10" in linux[0]
    assert all(f"init={machine.store}" in line for line in linux)


def test_every_named_file_is_there(machine: GrubDisk) -> None:
    """Each kernel and initrd of the menu was copied, and is whole."""
    machine.generation(1, "old")
    menu = machine.install(machine.generation(2, "new"))
    assert machine.kernels == {"old kernel", "old initrd", "new kernel", "new initrd"}
    for line in menu.splitlines():
        words = line.split()
        if words and words[0] in {"linux", "initrd"}:
            name = words[1].removeprefix("($drive1)/kernels/")
            assert (machine.boot / "kernels" / name).is_file()


def test_limit_drops_old_generations(machine: GrubDisk) -> None:
    """ConfigurationLimit bounds the menu, and obsolete kernels go."""
    machine.generation(1, "old")
    machine.install(machine.generation(2, "new"))
    menu = machine.install(machine.generation(3, "new"), configurationLimit=2)
    assert "Configuration 1 " not in menu
    assert machine.kernels == {"new kernel", "new initrd"}


def test_whole_files_are_not_copied_again(machine: GrubDisk) -> None:
    """A kernel that is there is left alone: its name came by a rename."""
    system = machine.generation(1, "old")
    machine.install(system)
    (kernel,) = (machine.boot / "kernels").glob("*kernel")
    inode = kernel.stat().st_ino
    machine.install(system)
    assert kernel.stat().st_ino == inode


def test_full_boot_leaves_the_old_menu(
    machine: GrubDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a copy fails, the menu still is the old one with all its files."""
    before = machine.install(machine.generation(1, "old"))

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    newer = machine.generation(2, "new")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        machine.install(newer)
    assert (machine.boot / "grub/grub.cfg").read_text() == before
    assert {"old kernel", "old initrd"} <= machine.kernels


def test_saved_default_only_on_request(machine: GrubDisk) -> None:
    """A saved entry counts only with `boot.loader.grub.default = "saved"`."""
    system = machine.generation(1, "old")
    assert "saved_entry" not in machine.install(system)
    assert 'set default="${saved_entry}"' in machine.install(system, default="saved")


def test_system_without_kernel_is_refused(machine: GrubDisk, tmp_path: Path) -> None:
    """What cannot boot must not become the default."""
    with pytest.raises(SystemExit, match="no kernel"):
        machine.install(tmp_path)


def test_store_paths_become_file_names() -> None:
    """Names below /boot/kernels are as NixOS makes them."""
    path = "/nix/store/abc-linux-6.12/bzImage"
    assert grub.kernel_name(path) == "abc-linux-6.12-bzImage"
