"""The host of a microvm: its kernel, its store, and the virtiofsd of each share.

The host's files are in one directory (`HostSystem.read`), which is never written to:
each machine sees the store through a layer that ends with the site, so that a host's
garbage collection under one guest affects no other.
"""

from __future__ import annotations

import json
import shlex
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HarnessError, HostError, ProcessFailed
from harness.host import virtiofsd
from harness.qemu import microvm
from harness.qemu.microvm import BASE, STORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.qemu import MachinePlan
    from harness.site import Sandbox, Site

_FACTS = "host.json"
_COLLECT_S = 60.0
# Of the layer over the host's store: what the host deletes is an entry there.
_LAYER_SIZE = "64M"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSystem:
    """The system that a host has for its guest, in the directory `home`.

    `system` is its top level, `rooted` the names in the store that the host has a root
    for, which is that system's closure. `tool` is a program in the store that the host
    has no root for: it was built, and is there.
    """

    home: Path
    system: str
    params: str
    tool: str
    rooted: tuple[str, ...]

    @property
    def store(self) -> Path:
        """The host's /nix/store."""
        return self.home / "store"

    @property
    def base(self) -> Path:
        """What else of the host the guest runs on: the reference guest's /usr."""
        return self.home / "usr"

    @property
    def disk(self) -> Path:
        """The guest's root file system as the host made it, qcow2."""
        return self.home / "root.qcow2"

    @property
    def boots(self) -> microvm.HostKernel:
        """What QEMU boots."""
        append = f"init={self.system}/init {self.params} rdinit=/{microvm.INIT}"
        return microvm.HostKernel(self.home / "kernel", self.home / "initrd", append)

    def write(self) -> None:
        """Put down what the directory's files do not say."""
        facts = asdict(self)
        facts.pop("home")
        (self.home / _FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def read(cls, home: Path) -> HostSystem:
        """Read what `write` left. Raises HarnessError."""
        try:
            facts = json.loads((home / _FACTS).read_text())
            return cls(home=home, **{**facts, "rooted": tuple(facts["rooted"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HarnessError(
                f"not a host's system: {home}",
                seen=str(error),
                hint="run `harness clean`; what is missing is built again",
            ) from error


@dataclass(frozen=True, slots=True)
class HostStore:
    """A host's store as one guest sees it; `directory` exists in the sandbox alone."""

    sandbox: Sandbox
    directory: Path
    host: HostSystem

    def names(self) -> tuple[str, ...]:
        """List the paths in it; what begins with a dot is Nix's own."""
        deadline = Deadline.after(_COLLECT_S, "a listing of the host's store")
        listed = self.sandbox.run(["ls", str(self.directory)], deadline=deadline)
        return tuple(listed.check().stdout.split())

    def collect_garbage(self) -> tuple[str, ...]:
        """Delete what the host has no root for; return the names that went.

        The host roots what it boots, as microvm.nix does, and knows nothing of what
        else its guest uses.
        """
        garbage = tuple(n for n in self.names() if n not in self.host.rooted)
        if garbage:
            deadline = Deadline.after(_COLLECT_S, "the host's garbage to be deleted")
            paths = [str(self.directory / name) for name in garbage]
            self.sandbox.run(["rm", "-rf", "--", *paths], deadline=deadline).check()
        return garbage


@dataclass(frozen=True, slots=True)
class Shares:
    """What a host shares with one guest, and the virtiofsd of each share.

    A virtiofsd ends when its QEMU hangs up, so each start of the machine has new ones,
    as `microvm-virtiofsd@` belongs to `microvm@`.
    """

    directory: Path
    store: HostStore

    @property
    def sockets(self) -> dict[str, Path]:
        """The socket of each share, by its tag."""
        return {tag: self.directory / f"{tag}.sock" for tag in self._sources}

    def plan(self, plan: MachinePlan) -> MachinePlan:
        """Make a plan that boots from the host."""
        return microvm.microvm(plan, self.store.host.boots, self.sockets)

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Run the sidecars for the length of the `with`."""
        with ExitStack() as stack:
            for tag, source in self._sources.items():
                serving = serve(self.store.sandbox, source, self.sockets[tag])
                stack.enter_context(serving)
            yield

    @property
    def _sources(self) -> Mapping[str, Path]:
        return {BASE: self.store.host.base, STORE: self.store.directory}


@contextmanager
def shared(site: Site, host: HostSystem, directory: Path) -> Iterator[Shares]:
    """Hold one guest's view of a host's store for the length of the `with`.

    `directory` takes the layer, the sockets and the sidecars' logs. Raises HostError
    where there is no virtiofsd, or none of use to this user.
    """
    virtiofsd()
    if site.sandbox.rootless:
        raise HostError(
            "a microvm needs root: virtiofsd serves files as their owner",
            hint="run it as root, in a container at best",
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    layer, merged = directory / "layer", directory / "store"
    for path in (layer, merged):
        path.mkdir(exist_ok=True)
    site.sandbox.script(_mount_script(host.store, layer, merged), "the host's store")
    try:
        yield Shares(directory, HostStore(site.sandbox, merged, host))
    finally:
        # Lazily: it ends with the machine, even if a process still looks into it.
        places = shlex.join([str(merged), str(layer)])
        site.sandbox.tidy(f"umount -l {places}", "the host's store to go")


def _mount_script(store: Path, layer: Path, merged: Path) -> str:
    below, above, work = (str(p) for p in (store, layer / "above", layer / "work"))
    options = f"lowerdir={below},upperdir={above},workdir={work}"
    return "\n".join(
        shlex.join(words)
        for words in (
            ["mount", "-t", "tmpfs", "-o", f"size={_LAYER_SIZE}", "tmpfs", str(layer)],
            ["mkdir", above, work],
            ["mount", "-t", "overlay", "-o", options, "overlay", str(merged)],
        )
    )


@contextmanager
def serve(sandbox: Sandbox, source: Path, path: Path) -> Iterator[int]:
    """Run a virtiofsd in the sandbox for the length of the `with`; yield its PID.

    The socket listens before virtiofsd is up, so there is no need to wait for it. Its
    output is in a log next to the socket. Raises ProcessFailed when it ends at once.
    """
    path.unlink(missing_ok=True)
    log = path.with_suffix(".log")
    with socket.socket(socket.AF_UNIX) as listening, log.open("ab") as said:
        listening.bind(str(path))
        listening.listen(1)
        argv = microvm.virtiofsd(virtiofsd(), source, listening.fileno())
        with sandbox.spawn(
            argv, stdout=said, stderr=said, pass_fds=[listening.fileno()]
        ) as resident:
            if not resident.running:
                raise ProcessFailed(
                    f"virtiofsd for {source} ended at once",
                    evidence=log.read_text(errors="replace").splitlines()[-10:],
                )
            yield resident.pid
