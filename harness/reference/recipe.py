"""The recipe: the files that the cloud image is made of, and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from harness.image.disk import PartitionTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.reference.mirror import Mirror

SUITE = "trixie"
REFERENCE = Path(__file__).parent
# What makes the image; the rest of the room is code and its documentation.
_PARTS = ("cloud", "nixos")
LAYOUT = PartitionTable()

# Documentation is a third of all files, and of no use in a throwaway machine.
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
# Caches of tools: neither digested nor built in.
_SKIPPED = frozenset({"__pycache__", ".ruff_cache", ".mypy_cache"})
_ARCHIVES = "/var/cache/apt/archives"
# Files that the build takes out of the tree, next to the disk made from it.
_MADE = (
    "/boot/vmlinuz",
    "/boot/grub/core.img",
    "/usr/lib/grub/i386-pc/boot.img",
    "/usr/lib/reference/packages.tsv",
)


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """The files in `cloud/` (the Debian image) and `nixos/` (the guest) of `root`."""

    root: Path = REFERENCE
    layout: PartitionTable = LAYOUT

    def files(self) -> Iterator[Path]:
        """Yield every file of the recipe, in a fixed order."""
        for part in _PARTS:
            for path in sorted((self.root / part).rglob("*")):
                if not _SKIPPED.intersection(path.parts) and not path.is_dir():
                    yield path

    @property
    def digest(self) -> str:
        """SHA-256 over names, modes and contents, the layout and this module."""
        total = hashlib.sha256(repr(self.layout).encode())
        total.update(Path(__file__).read_bytes())
        for path in self.files():
            body = path.read_bytes()
            mode = "x" if path.stat().st_mode & 0o100 else "-"
            head = f"\n{path.relative_to(self.root)} {mode} {len(body)}\n"
            total.update(head.encode() + body)
        return total.hexdigest()

    @property
    def packages(self) -> list[str]:
        """The packages to install in addition to Debian's essential ones."""
        lists = [self.root / "cloud/packages.list", self.root / "nixos/packages.list"]
        return [
            name
            for path in lists
            if path.exists()
            for name in parse_list(path.read_text())
        ]

    @property
    def has_pool(self) -> bool:
        """Whether the NixOS half is there to be built into the image."""
        return (self.root / "nixos/build-cache").exists()


def parse_list(text: str) -> list[str]:
    """Return the words of a list with comments, line by line."""
    return [word for line in text.splitlines() for word in line.split("#")[0].split()]


@dataclass(frozen=True, slots=True)
class Workshop:
    """The directories of one build.

    The build runs in a user namespace whose root is an unprivileged user outside and
    cannot enter caches or checkouts below a closed home directory: `directory` and the
    copy of the recipe in it are open to it. Its results leave through `disk_fd` and
    through mmdebstrap, into `out`, which is closed.
    """

    directory: Path
    debs: Path
    disk_fd: int

    @property
    def recipe(self) -> Path:
        """A copy of the recipe that everyone can read."""
        return self.directory / "reference"

    @property
    def out(self) -> Path:
        """Where the parts of the image end up."""
        return self.directory / "out"

    @property
    def disk(self) -> Path:
        """The raw disk."""
        return self.out / "disk.raw"


def hook_environment(
    recipe: ImageRecipe, workshop: Workshop, mirror: Mirror
) -> dict[str, str]:
    """Return the environment of the recipe's hooks."""
    boot, root = recipe.layout.boot, recipe.layout.root
    return {
        "TMPDIR": str(workshop.directory),
        "RECIPE": str(workshop.recipe / "cloud"),
        "NIXOS": str(workshop.recipe / "nixos"),
        "MIRROR": mirror.uri,
        "DISK_FD": str(workshop.disk_fd),
        "BOOT_OFFSET": str(boot.offset),
        "BOOT_SIZE": str(boot.kib),
        "ROOT_OFFSET": str(root.offset),
        "ROOT_SIZE": str(root.kib),
        # initramfs-tools' own switch: the recipe makes its own initrd.
        "INITRD": "No",
    }


def leash(*, root: bool) -> list[str]:
    """Return the prefix by which a build ends with the process that started it.

    For root the kernel ends all of it at once, in a PID namespace. For other users only
    mmdebstrap receives a signal, and ends after its current step.
    """
    if not root:
        return ["setpriv", "--pdeathsig=TERM", "--"]
    return [
        *("setpriv", "--pdeathsig=KILL", "--"),
        *("unshare", "--fork", "--pid", "--kill-child=SIGKILL", "--mount-proc", "--"),
    ]


def mmdebstrap(
    recipe: ImageRecipe, workshop: Workshop, mirror: Mirror, keyring: Path
) -> list[str]:
    """Return the command that builds the tree and, in its hooks, the disk."""
    aptopts = (
        'Apt::Install-Recommends "false"',
        'APT::Keep-Downloaded-Packages "true"',
        *mirror.apt_options,
    )
    return [
        "mmdebstrap", "--mode=unshare", "--variant=minbase", "--format=null",
        "--skip=download/empty,essential/unlink,cleanup/apt",
        *(f"--aptopt={option}" for option in aptopts),
        # A tree that is thrown away on failure needs no fsync after every file.
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
        f"--include={','.join(recipe.packages)}",
        f'--setup-hook=mkdir -p "$1"{_ARCHIVES}',
        f"--setup-hook=sync-in {quote(str(workshop.debs))} {_ARCHIVES}",
        *(f"--customize-hook={hook}" for hook in _customize(recipe, workshop)),
        SUITE, "-", f"deb [signed-by={keyring}] {mirror.uri} {SUITE} main",
    ]  # fmt: skip


def _customize(recipe: ImageRecipe, workshop: Workshop) -> Iterator[str]:
    """Yield the hooks that turn packages into an image, in order.

    Downloads are saved before the first build step, so that a build that fails does
    not download them again.
    """
    hooks = workshop.recipe / "cloud/hooks"
    out = quote(str(workshop.out))
    yield f"{hooks}/customize"
    if recipe.has_pool:
        yield f"{hooks}/fetch-pool"
    yield f"sync-out {_ARCHIVES} {quote(str(workshop.debs))}"
    if recipe.has_pool:
        yield f"{hooks}/build-cache"
        yield f"download /usr/lib/reference/pool.txt {out}/pool.txt"
    for made in _MADE:
        yield f"download {made} {out}/{Path(made).name}"
    yield f"{hooks}/strip"
    yield f"{hooks}/disk"
