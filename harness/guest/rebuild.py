"""`nixos-rebuild` in the guest: its arguments, and what it reports."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest import jobs
from harness.guest.script import load

if TYPE_CHECKING:
    from harness.guest.jobs import Job, JobEnd
    from harness.guest.transport import Guest

# https://nixos.org/manual/nixos/stable/#sec-switching-systems, and the exit statuses of
# nixpkgs pkgs/by-name/sw/switch-to-configuration-ng.
SWITCHED = 0

# The sentences of switch-to-configuration, by what each says about the units it names.
_SENTENCES = {
    "stopped": "stopping the following units",
    "not_stopped": "NOT stopping the following changed units",
    "not_restarted": "NOT restarting the following changed units",
    "reloaded": "reloading the following units",
    "restarted": "restarting the following units",
    "started": "starting the following units",
    "new": "the following new units were started",
    "failed": "warning: the following units failed",
}
_REEXEC = re.compile(r"^restarting systemd", re.MULTILINE)
_SYSTEM = re.compile(r"/nix/store/[0-9a-z]{32}-nixos-system-[^\s'\"]+")

_MODULE = """\
# Written by the acceptance harness.
{{ ... }}:
{{
  imports = [
    /etc/nixos/configuration.nix
    ({module})
  ];
}}
"""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What a `nixos-rebuild` did, by its own account; judge the guest, not this.

    `since` and `until` are the guest's uptime in seconds, to be compared with beats.
    """

    argv: tuple[str, ...]
    rc: int
    output: str
    since: float
    until: float
    stopped: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    reloaded: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    not_stopped: tuple[str, ...] = ()
    not_restarted: tuple[str, ...] = ()
    reexecuted: bool = False
    system: str | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from start to end, on the guest's clock."""
        return self.until - self.since

    @property
    def succeeded(self) -> bool:
        """Whether `nixos-rebuild` ended with 0."""
        return self.rc == SWITCHED

    @property
    def touched(self) -> frozenset[str]:
        """Every unit that it says it stopped, started or restarted."""
        return frozenset((*self.stopped, *self.started, *self.restarted, *self.new))


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """A `nixos-rebuild` under way; `wait` for it before starting another."""

    job: Job
    argv: tuple[str, ...]

    def wait(self, timeout: float = 900.0) -> Rebuild:
        """Wait for the end, across restarts of the guest agent."""
        return parse(self.argv, self.job.wait(timeout))

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.job.output


def start(
    guest: Guest,
    verb: str,
    *,
    module: str | None,
    rollback: bool,
    file: str,
    cgroup: str = "",
) -> Rebuilding:
    """Start a rebuild; `module` is the text of a NixOS module to add to the host's own.

    `file` in the guest gets the module and an import of the host's configuration, and
    `nixos-rebuild` builds it. `cgroup` is the control group that it joins first, none
    when empty.
    """
    argv = (verb, "--rollback") if rollback else (verb,)
    text = configuration(module) if module is not None else ""
    words = shlex.join([cgroup, file if text else "", text, *argv])
    script = f"set -- {words}\n{load('rebuild.sh')}"
    job = jobs.start(guest, f"rebuild-{verb}", script)
    return Rebuilding(job, ("nixos-rebuild", *argv))


def configuration(module: str) -> str:
    """Return a configuration: the host's own plus one module, a set or a function."""
    indented = module.strip().replace("\n", "\n    ")
    return _MODULE.format(module=indented)


def parse(argv: tuple[str, ...], ended: JobEnd) -> Rebuild:
    """Read what `nixos-rebuild` and `switch-to-configuration` printed."""
    units: dict[str, list[str]] = {key: [] for key in _SENTENCES}
    for line in ended.output.splitlines():
        for key, sentence in _SENTENCES.items():
            head, found, names = line.strip().partition(f"{sentence}: ")
            if found and not head:
                units[key] += names.split(", ")
    # Not the derivation that it was built from.
    systems = [s for s in _SYSTEM.findall(ended.output) if not s.endswith(".drv")]
    return Rebuild(
        argv,
        ended.rc,
        ended.output,
        ended.since,
        ended.until,
        reexecuted=bool(_REEXEC.search(ended.output)),
        system=systems[-1] if systems else None,
        **{key: tuple(names) for key, names in units.items()},
    )
