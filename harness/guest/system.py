"""The system view: what booted, what is current, what is next, and rebuilds."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.guest import boot, rebuild
from harness.guest.script import Sections, ask, readable, reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.guest.boot import Bootloader
    from harness.guest.rebuild import Rebuild, Rebuilding
    from harness.guest.transport import Guest

_EVALUATION_S = 300.0
_BOOTED = "/run/booted-system"
_CURRENT = "/run/current-system"
_PROFILE = "/nix/var/nix/profiles/system"
_LINK = re.compile(rf"(\d+) {_PROFILE}-(\d+)-link -> (\S+)")
_POINTER = re.compile(rf"\d+ {_PROFILE} -> (?:.*/)?system-(\d+)-link")


@dataclass(frozen=True, slots=True)
class Generation:
    """One built system; paths are what the links of its top level resolve to."""

    path: str
    kernel: str | None
    initrd: str | None
    init: str | None
    modules: str | None
    systemd: str | None
    version: str
    params: str


@dataclass(frozen=True, slots=True)
class ProfileGeneration:
    """One generation of the system profile; `created` is in seconds since 1970."""

    number: int
    path: str
    created: int


@dataclass(frozen=True, slots=True)
class SystemState:
    """What a guest runs and would boot, all at one moment.

    `uptime` is in seconds. `leftovers` are the lists that an interrupted switch leaves.
    """

    boot_id: str
    uptime: float
    kernel_release: str
    cmdline: str
    booted: Generation | None
    current: Generation | None
    profile: Generation | None
    profile_number: int | None
    generations: tuple[ProfileGeneration, ...]
    modules_present: bool
    pid1_exe: str | None
    leftovers: tuple[str, ...]

    @property
    def init(self) -> str | None:
        """The `init=` of the kernel's command line."""
        words = self.cmdline.split()
        values = [w.removeprefix("init=") for w in words if w.startswith("init=")]
        return values[-1] if values else None

    @property
    def reboot_pending(self) -> bool:
        """Whether kernel, initrd or modules of the current system are not the booted.

        A guest that is no NixOS yet has nothing pending.
        """
        if self.booted is None or self.current is None:
            return False
        return _kernel_parts(self.booted) != _kernel_parts(self.current)


class System:
    """Asks a guest about its generations and rebuilds it."""

    def __init__(
        self, guest: Guest, after_rebuild: Callable[[], None] = lambda: None
    ) -> None:
        self._guest = guest
        self._after_rebuild = after_rebuild
        self._numbers = itertools.count(1)

    def state(self) -> SystemState:
        """Ask everything at once; one process."""
        return parse_state(ask(self._guest, "system.sh"))

    @property
    def boot_id(self) -> str:
        """The kernel's id of this boot: a restored machine keeps it, a reboot not."""
        return self.state().boot_id

    @property
    def kernel_release(self) -> str:
        """What `uname -r` says."""
        return self.state().kernel_release

    @property
    def cmdline(self) -> str:
        """The kernel's command line."""
        return self.state().cmdline

    @property
    def booted(self) -> Generation | None:
        """The generation that was booted."""
        return self.state().booted

    @property
    def current(self) -> Generation | None:
        """The generation that is active."""
        return self.state().current

    @property
    def profile(self) -> Generation | None:
        """The generation that the system profile points at: the next boot's."""
        return self.state().profile

    def generations(self) -> tuple[ProfileGeneration, ...]:
        """List the generations of the system profile, oldest first."""
        return self.state().generations

    def option(self, name: str) -> Any:
        """Evaluate an option of the host's own configuration; what runs may differ.

        Raises MachineError where Nix cannot.
        """
        sections = ask(self._guest, "option.sh", name, timeout=_EVALUATION_S)
        with readable(sections):
            return json.loads(sections.text("value"))

    def memory_mib(self) -> int:
        """Read how much memory the kernel gives out, in MiB: MemTotal of proc(5)."""
        text = self._guest.execute("cat", "/proc/meminfo").check().stdout
        _, kib, _ = text.splitlines()[0].split()
        return int(kib) // 1024

    def failed_units(self) -> tuple[str, ...]:
        """List the units that systemd calls failed."""
        return parse_failed(ask(self._guest, "units.sh").text("failed"))

    def bootloader(self) -> Bootloader:
        """Read the boot menu from the disk, with digests of the kernels it names."""
        return boot.read(self._guest)

    def start_rebuild(
        self,
        verb: str,
        module: str | None = None,
        *,
        rollback: bool = False,
        cgroup: str = "",
    ) -> Rebuilding:
        """Start `nixos-rebuild VERB` and return while it runs.

        `module` is the text of a NixOS module, added to the host's configuration for
        this rebuild alone: the next one starts from the host's own again. `cgroup` is
        the control group to run it in, as typed into a terminal there.
        """
        file = f"/root/acceptance/{next(self._numbers)}.nix"
        return rebuild.start(
            self._guest,
            verb,
            module=module,
            rollback=rollback,
            file=file,
            cgroup=cgroup,
        )

    def rebuild(
        self,
        verb: str,
        module: str | None = None,
        *,
        rollback: bool = False,
        timeout: float = 900.0,
    ) -> Rebuild:
        """Run `nixos-rebuild VERB` to its end; its exit status is in the result.

        `timeout` is in seconds on an idle computer.
        """
        rebuilt = self.start_rebuild(verb, module, rollback=rollback).wait(timeout)
        self._after_rebuild()
        return rebuilt


@reads
def parse_state(sections: Sections) -> SystemState:
    """Read what `system.sh` printed."""
    kernel = sections.pairs("kernel")
    names, targets = sections.lines("names"), sections.lines("targets")
    links = dict(zip(names, targets, strict=True))
    profile = sections.text("generations")
    pointer = _POINTER.search(profile)
    found = [
        ProfileGeneration(int(number), path, int(created))
        for created, number, path in _LINK.findall(profile)
    ]
    return SystemState(
        boot_id=kernel["boot_id"],
        uptime=float(kernel["uptime"]),
        kernel_release=kernel["release"],
        cmdline=kernel["cmdline"],
        booted=_generation(_BOOTED, links, sections),
        current=_generation(_CURRENT, links, sections),
        profile=_generation(_PROFILE, links, sections),
        profile_number=int(pointer[1]) if pointer else None,
        generations=tuple(sorted(found, key=lambda one: one.number)),
        modules_present="modules" in kernel,
        pid1_exe=links.get("/proc/1/exe"),
        leftovers=tuple(sections.lines("leftovers")),
    )


def parse_failed(text: str) -> tuple[str, ...]:
    """Read `systemctl list-units --failed --plain --no-legend`."""
    return tuple(line.split()[0] for line in text.splitlines() if line.strip())


def _generation(
    link: str, links: dict[str, str], sections: Sections
) -> Generation | None:
    if link not in links:
        return None
    return Generation(
        path=links[link],
        kernel=links.get(f"{link}/kernel"),
        initrd=links.get(f"{link}/initrd"),
        init=links.get(f"{link}/init"),
        modules=links.get(f"{link}/kernel-modules"),
        systemd=links.get(f"{link}/systemd"),
        version=sections.value(f"{link}/nixos-version"),
        params=sections.value(f"{link}/kernel-params"),
    )


def _kernel_parts(system: Generation) -> tuple[str | None, ...]:
    return (system.kernel, system.initrd, system.modules)
