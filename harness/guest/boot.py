"""The boot menu of a guest: GRUB's or systemd-boot's, as it lies on the disk."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.guest.script import Sections, ask, reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.guest.transport import Guest

_GRUB = "/boot/grub/grub.cfg"
_GRUBENV = "/boot/grub/grubenv"
_LOADER = "/boot/loader/loader.conf"
_ENTRIES = "/boot/loader/entries/"
# Where a path of the menu may lie: the menu names it from the root of its own
# partition, which is mounted at one of these.
_MOUNTS = ("", "/boot", "/boot/efi", "/efi")

_MENU = re.compile(r"^\s*(menuentry|submenu)\s+(?:\"([^\"]*)\"|'([^']*)'|(\S+))")
_ID = re.compile(r"(?:--id|\$menuentry_id_option)[ =]+['\"]?([^\s'\"{]+)")
_COMMAND = re.compile(r"^\s*(linux|initrd)(?:16|efi)?\s+(\S+)\s*(.*)$")
_DEFAULT = re.compile(r"^\s*set default=[\"']?([^\"'\n]*)", re.MULTILINE)
_DEVICE = re.compile(r"^\([^)]*\)")
# A digest of the SHA-256 family in hexadecimal, then a path.
_DIGEST = re.compile(r"^([0-9a-f]{64}) [ *](.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """One line of the boot menu.

    `position` is the boot loader's own name for it: GRUB's `1>0`, or the entry's file.
    `kernel` is the path in the menu; `kernel_file` and `kernel_sha256` are that file
    and its digest in the guest, None where there is none; `initrd_files` and
    `initrd_sha256s` are those of the initrds.
    """

    position: str
    title: str
    kernel: str
    initrds: tuple[str, ...]
    params: str
    kernel_file: str | None = None
    kernel_sha256: str | None = None
    initrd_files: tuple[str | None, ...] = ()
    initrd_sha256s: tuple[str | None, ...] = ()
    ident: str = ""

    @property
    def init(self) -> str | None:
        """The `init=` of the kernel's command line: the generation that it boots."""
        found = re.search(r"(?:^|\s)init=(\S+)", self.params)
        return found[1] if found else None

    @property
    def system(self) -> str | None:
        """The generation's store path."""
        return self.init.rpartition("/")[0] if self.init else None

    @property
    def complete(self) -> bool:
        """Whether kernel and initrds are there."""
        return self.kernel_file is not None and None not in self.initrd_files


@dataclass(frozen=True, slots=True)
class Bootloader:
    """The boot menu: `default` is what the next boot takes.

    `pin` is what makes another entry than the menu's own first choice the default, for
    example GRUB's saved entry. `digests` has the SHA-256 of every kernel file, and of
    the kernels that are booted and current.
    """

    kind: str
    entries: tuple[MenuEntry, ...]
    default: MenuEntry | None
    pin: str | None
    digests: Mapping[str, str]
    leftovers: tuple[str, ...]

    def entries_for(self, system: str) -> tuple[MenuEntry, ...]:
        """List the entries that boot a generation's store path."""
        return tuple(entry for entry in self.entries if entry.system == system)


def read(guest: Guest) -> Bootloader:
    """Read the menu and look up the files that it names; two processes."""
    menu = parse(ask(guest, "boot.sh"))
    kernels = candidates(entry.kernel for entry in menu.entries)
    running = [f"/run/{name}-system/kernel" for name in ("booted", "current")]
    running.append("/run/booted-system/initrd")
    initrds = candidates(path for entry in menu.entries for path in entry.initrds)
    found = ask(guest, "digest.sh", *running, *kernels, *initrds, timeout=180.0)
    return resolve(menu, parse_digests(found.text("digests")))


@reads
def parse(sections: Sections) -> Bootloader:
    """Read what `boot.sh` printed; files are not resolved yet."""
    grub = sections.text(_GRUB)
    environment = sections.pairs(_GRUBENV)
    loader = sections.pairs(_LOADER, " ")
    files = {
        name: sections.pairs(name, " ")
        for name in sections.names()
        if name.startswith(_ENTRIES)
    }
    leftovers = tuple(sections.lines("leftovers"))
    if grub:
        entries = parse_grub(grub)
        default, pin = grub_default(grub, entries, environment)
        kind = "grub"
    else:
        entries = tuple(_loader_entry(name, keys) for name, keys in files.items())
        default, pin = _loader_default(entries, loader.get("default", "").strip())
        kind = "systemd-boot" if entries else "none"
    return Bootloader(kind, entries, default, pin, {}, leftovers)


def parse_grub(text: str) -> tuple[MenuEntry, ...]:
    """Read the entries of a `grub.cfg`, submenus included."""
    entries: list[MenuEntry] = []
    counters = [0]
    stack: list[str] = []
    for line in text.splitlines():
        if found := _MENU.match(line):
            position = ">".join([str(n) for n in counters])
            stack.append(found[1])
            if found[1] == "submenu":
                counters.append(0)
            else:
                title = next(t for t in found.groups()[1:] if t is not None)
                ident = _ID.search(line)
                entries.append(
                    MenuEntry(
                        position, title, "", (), "", ident=ident[1] if ident else ""
                    )
                )
        elif line.strip() == "}" and stack:
            if stack.pop() == "submenu":
                counters.pop()
            counters[-1] += 1
        elif (found := _COMMAND.match(line)) and stack[-1:] == ["menuentry"]:
            entries[-1] = _with_command(entries[-1], *found.groups())
    return tuple(entries)


def grub_default(
    text: str, entries: tuple[MenuEntry, ...], environment: Mapping[str, str]
) -> tuple[MenuEntry | None, str | None]:
    """Work out which entry GRUB boots next, and what pins it there, if anything."""
    choices = [value for value in _DEFAULT.findall(text) if "next_entry" not in value]
    choice, pin = (choices[-1] if choices else "0"), None
    if "saved_entry" in choice:
        choice = pin = environment.get("saved_entry") or "0"
    if environment.get("next_entry"):
        choice = pin = environment["next_entry"]
    names = {entry.position: entry for entry in entries}
    for entry in reversed(entries):
        names |= {entry.title: entry, entry.ident or entry.position: entry}
    return names.get(choice) or names.get(choice.rpartition(">")[2]), pin


def candidates(paths: Iterable[str]) -> list[str]:
    """List where the files that a menu names may lie in the guest, each once."""
    return list(dict.fromkeys(m + p for p in paths if p for m in _MOUNTS))


def parse_digests(text: str) -> dict[str, str]:
    """Read `sha256sum`'s output, by path."""
    return {path: digest for digest, path in _DIGEST.findall(text)}


def resolve(menu: Bootloader, digests: Mapping[str, str]) -> Bootloader:
    """Fill in which files a menu's entries really name."""

    def file(path: str) -> str | None:
        return next((m + path for m in _MOUNTS if m + path in digests), None)

    def entry(bare: MenuEntry) -> MenuEntry:
        kernel, initrds = file(bare.kernel), tuple(map(file, bare.initrds))
        return replace(
            bare,
            kernel_file=kernel,
            kernel_sha256=digests[kernel] if kernel else None,
            initrd_files=initrds,
            initrd_sha256s=tuple(digests[i] if i else None for i in initrds),
        )

    entries = tuple(entry(bare) for bare in menu.entries)
    default = menu.default and entry(menu.default)
    return replace(menu, entries=entries, default=default, digests=dict(digests))


def _with_command(entry: MenuEntry, command: str, path: str, rest: str) -> MenuEntry:
    if command == "linux":
        return replace(entry, kernel=_from_root(path), params=rest.strip())
    initrds = tuple(_from_root(word) for word in (path, *rest.split()))
    return replace(entry, initrds=entry.initrds + initrds)


def _from_root(path: str) -> str:
    """Drop the device from `($drive1)//kernels/x`."""
    return "/" + _DEVICE.sub("", path).lstrip("/")


def _loader_entry(name: str, keys: Mapping[str, str]) -> MenuEntry:
    initrd = keys.get("initrd", "").strip()
    version = keys.get("version", "").strip()
    title = " ".join(filter(None, (keys.get("title", "").strip(), version)))
    return MenuEntry(
        name.removeprefix(_ENTRIES),
        title,
        _from_root(keys.get("linux", "").strip()),
        (_from_root(initrd),) if initrd else (),
        keys.get("options", "").strip(),
    )


def _loader_default(
    entries: tuple[MenuEntry, ...], wanted: str
) -> tuple[MenuEntry | None, str | None]:
    named = [
        e for e in entries if wanted in {e.position, e.position.removesuffix(".conf")}
    ]
    return (named[0], None) if named else (None, None)
