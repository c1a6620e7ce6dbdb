"""What a switch does to which unit: the decision table, without doing it.

Rules from the NixOS manual, "Unit handling", and switch-to-configuration-ng's main.rs:
collect_unit_changes, handle_modified_unit.
"""

from __future__ import annotations

import os

from . import unitfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Pulled in by what depends on them.
NEVER_DIRECTLY = frozenset(
    (
        "sysinit.target",
        "basic.target",
        "multi-user.target",
        "graphical.target",
    )
)
SLEEP_TARGETS = frozenset(
    (
        "suspend.target",
        "hibernate.target",
        "hybrid-sleep.target",
    )
)


class Plan:
    """The units to stop, start, restart, reload and leave alone."""

    def __init__(self) -> None:
        self.stop: set[str] = set()
        self.start: set[str] = set()
        self.restart: set[str] = set()
        self.reload: set[str] = set()
        self.skip: set[str] = set()
        # Started without being shown: targets, which every switch starts again.
        self.quiet: set[str] = set()

    def shown(self, units: set[str]) -> list[str]:
        """Return the names that a switch prints, sorted as NixOS sorts them."""
        return sorted(units - self.quiet, key=str.lower)


def template_of(unit: str) -> str | None:
    """`getty@.service` of `getty@tty1.service`; nothing for a plain unit."""
    stem, at, rest = unit.partition("@")
    instance, dot, suffix = rest.rpartition(".")
    return f"{stem}@.{suffix}" if at and instance and dot else None


def state_of(path: str) -> str:
    """Classify a unit file: `present`, `masked` (leads to /dev/null) or `missing`."""
    real = os.path.realpath(path)
    if real == "/dev/null":
        return "masked"
    return "present" if os.path.exists(real) else "missing"


# Where the base system has its units.
BASE_UNITS = "/usr/lib/systemd/system"


class Comparison:
    """Compares the active units' files in two unit directories and fills a plan."""

    def __init__(
        self, plan: Plan, old_dir: str, new_dir: str, active: Mapping[str, str]
    ) -> None:
        self.plan = plan
        self.old_dir = old_dir
        self.new_dir = new_dir
        self.active = active  # ActiveState by unit name, inactive units left out

    def collect(self, is_ours: Callable[[str], bool]) -> Plan:
        """Go through all active units; `is_ours` says whether one's file is NixOS'."""
        for unit, state in self.active.items():
            found = self._files(unit)
            if state in {"active", "activating"} and found and is_ours(unit):
                self._consider(unit, *found)
            elif unit.endswith(".target") and state == "active":
                self._base_target(unit)
        return self.plan

    def _base_target(self, unit: str) -> None:
        """Start a target of the base's again: only its wants are the generation's.

        In NixOS every target's file is in the generation
        (docs/explanation/reference-guest.md).
        """
        path = f"{BASE_UNITS}/{unit}"
        if state_of(path) == "present":
            self._target(unit, unitfile.load(path, path))

    def _files(self, unit: str) -> tuple[str, str, str, str] | None:
        """Old and new unit path, each with its base (the template of an instance)."""
        old, new = f"{self.old_dir}/{unit}", f"{self.new_dir}/{unit}"
        old_base, new_base = old, new
        template = template_of(unit)
        if template and not os.path.exists(old) and not os.path.exists(new):
            old_base = f"{self.old_dir}/{template}"
            new_base = f"{self.new_dir}/{template}"
        return (old, old_base, new, new_base) if os.path.exists(old_base) else None

    def _consider(
        self, unit: str, old: str, old_base: str, new: str, base: str
    ) -> None:
        if self._instance_gone(old, old_base, new) or state_of(base) != "present":
            info = unitfile.load(old, old_base)
            if unitfile.boolean(info, "Unit", "X-StopOnRemoval", default=True):
                self.plan.stop.add(unit)
            return
        info = unitfile.load(new, base)
        if unit.endswith(".target"):
            self._target(unit, info)
            return
        verdict = unitfile.compare(unitfile.load(old, old_base), info)
        if verdict == unitfile.RESTART:
            self.modified(unit, info)
        elif verdict == unitfile.RELOAD and unit not in self.plan.restart:
            self.plan.reload.add(unit)

    @staticmethod
    def _instance_gone(old: str, old_base: str, new: str) -> bool:
        """Whether an instance was made of drop-ins of its template, and is no more."""
        if old == old_base:
            return False
        had = any(state_of(path) == "present" for path in unitfile.dropins(old))
        has = any(state_of(path) == "present" for path in unitfile.dropins(new))
        return had and not has

    def _target(self, unit: str, info: unitfile.UnitInfo) -> None:
        """Active targets are started again, which starts what is new in them."""
        manual = unitfile.boolean(info, "Unit", "RefuseManualStart", default=False)
        manual |= unitfile.boolean(info, "Unit", "X-OnlyManualStart", default=False)
        if unit not in SLEEP_TARGETS and not manual:
            self.plan.start.add(unit)
            self.plan.quiet.add(unit)
        if unitfile.boolean(info, "Unit", "X-StopOnReconfiguration", default=False):
            self.plan.stop.add(unit)

    def modified(self, unit: str, info: unitfile.UnitInfo) -> None:
        """Decide on a unit that differs, from what its *new* file asks for."""
        plan = self.plan
        if unit in NEVER_DIRECTLY or unit.endswith((".path", ".slice", ".socket")):
            return
        if unit.endswith(".mount"):
            busy = unit in {"-.mount", "nix.mount"}
            (plan.reload if busy else plan.restart).add(unit)
            return
        if (
            unitfile.boolean(info, "Service", "X-ReloadIfChanged", default=False)
            and unit not in plan.restart
            and unit not in plan.stop
        ):
            plan.reload.add(unit)
            return
        if _stays(info):
            plan.skip.add(unit)
            return
        stop_first = unitfile.boolean(info, "Service", "X-StopIfChanged", default=True)
        if not stop_first or not unit.endswith(".service"):
            plan.restart.add(unit)
        else:
            # Stopped as the old unit says, started as the new one does.
            plan.stop.add(unit)
            if not self._socket_activated(unit, info):
                plan.start.add(unit)
        plan.reload.discard(unit)

    def _socket_activated(self, unit: str, info: unitfile.UnitInfo) -> bool:
        """Stop and start the sockets of a service; whether they will start it."""
        words = " ".join(info.get("Service", {}).get("Sockets", [])).split()
        base = (template_of(unit) or unit).removesuffix(".service").removesuffix("@")
        activated = False
        for socket in words or [f"{base}.socket"]:
            is_new = os.path.exists(f"{self.new_dir}/{socket}")
            if socket in self.active:
                self.plan.stop.add(socket)
                if is_new:
                    self.plan.start.add(socket)
            activated |= is_new
        opted_out = unitfile.boolean(
            info, "Service", "X-NotSocketActivated", default=False
        )
        return activated and not opted_out


def _stays(info: unitfile.UnitInfo) -> bool:
    """Whether a changed unit goes on running as it is."""
    return (
        not unitfile.boolean(info, "Service", "X-RestartIfChanged", default=True)
        or unitfile.boolean(info, "Unit", "RefuseManualStop", default=False)
        or unitfile.boolean(info, "Unit", "X-OnlyManualStart", default=False)
    )
