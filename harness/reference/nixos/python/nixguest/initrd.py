"""Builder: the initial RAM disk, a cpio archive with busybox, modules and stage 1.

Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
"""

from __future__ import annotations

import lzma
import os

from .files import derivation

FILE, DIRECTORY, LINK = 0o100000, 0o040000, 0o120000


class Archive:
    """A newc archive in memory; everything belongs to root and has no time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """Append an entry; parents have to come first."""
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 2 if mode & DIRECTORY == DIRECTORY else 1
        fields = (
            self._inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0,
            len(encoded), 0,
        )  # fmt: skip
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields)
        self.data += encoded
        self._pad()
        self.data += content
        self._pad()

    def _pad(self) -> None:
        self.data += b"\0" * (-len(self.data) % 4)

    def finish(self) -> bytes:
        """Return the archive with its trailer."""
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def canonical(name: str) -> str:
    """Return a module's name as the kernel spells it."""
    return os.path.basename(name).split(".")[0].replace("-", "_")


def resolve(wanted: list[str], dependencies: str, builtin: str) -> list[str]:
    """Paths of the modules and of what they need, in the order to load them.

    `dependencies` is the text of modules.dep, `builtin` that of modules.builtin.
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        module, _, rest = line.partition(":")
        needs[canonical(module)] = [module, *rest.split()]
    inside = {canonical(line) for line in builtin.splitlines()}
    order: list[str] = []
    for name in map(canonical, wanted):
        if name in inside:
            continue
        if name not in needs:
            raise SystemExit(f"initrd: this kernel has no module {name}")
        module, *required = needs[name]
        # modules.dep lists requirements nearest first: load them from the far end.
        for path in (*reversed(required), module):
            if path not in order:
                order.append(path)
    return order


def build(attrs: dict[str, object], modules: str) -> bytes:
    """Return one kernel's archive; `modules` is its lib/modules/VERSION directory."""
    archive = Archive()
    for directory in ("bin", "dev", "proc", "sys", "run", "mnt-root", "modules"):
        archive.add(directory, DIRECTORY | 0o755)
    with open(f"{attrs['busybox']}/bin/busybox", "rb") as file:
        archive.add("bin/busybox", FILE | 0o755, file.read())
    archive.add("bin/sh", LINK | 0o777, b"busybox")
    with open(f"{modules}/modules.dep", encoding="ascii") as file:
        dependencies = file.read()
    with open(f"{modules}/modules.builtin", encoding="ascii") as file:
        builtin = file.read()
    wanted = attrs["modules"]
    assert isinstance(wanted, list)  # noqa: S101 - checked by the option's type
    for number, path in enumerate(resolve(wanted, dependencies, builtin)):
        with open(f"{modules}/{path}", "rb") as file:
            content = file.read()
        if path.endswith(".xz"):
            content = lzma.decompress(content)
        name = f"modules/{number:02}-{canonical(path)}.ko"
        archive.add(name, FILE | 0o644, content)
    archive.add("fs-info", FILE | 0o644, str(attrs["fsInfo"]).encode())
    with open(str(attrs["stage1"]), "rb") as file:
        archive.add("init", FILE | 0o755, file.read())
    return archive.finish()


def main() -> None:
    """Entry point of the derivation."""
    attrs = derivation()
    below = f"{attrs['kernel']}/lib/modules"
    (version,) = os.listdir(below)
    out = attrs["outputs"]["out"]
    os.makedirs(out)
    # Not compressed: unpacking costs more under emulation than reading does.
    with open(f"{out}/initrd", "wb") as file:
        file.write(build(attrs, f"{below}/{version}"))
