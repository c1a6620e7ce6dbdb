"""switch-to-configuration: make a system the boot default and/or the running one.

Follows the NixOS manual, "What happens during a system switch?", and nixpkgs
pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs: the order of steps, the printed
lines, the exit codes (1 boot loader or not root, 2 activation, 4 a unit failed, 100 the
init interface changed) and the lists in /run/nixos that let an interrupted switch be
taken up by the next.
"""

from __future__ import annotations

import fcntl
import os
import sys

from . import files
from .plan import Comparison, Plan, state_of, template_of
from .spawn import run, say
from .unitfile import boolean, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bus import Manager

ACTIONS = ("switch", "boot", "test", "dry-activate", "check")
UNITS = "/etc/systemd/system"
RUN = "/run/nixos"
REACTIVATION = "sysinit-reactivation.target"
EXIT_BOOT_LOADER, EXIT_ACTIVATION, EXIT_UNITS, EXIT_INTERFACE = 1, 2, 4, 100
EAGAIN = 11

USAGE = """Usage: switch-to-configuration [check|switch|boot|test|dry-activate]
check:        run pre-switch checks and exit
switch:       make the configuration the boot default and activate now
boot:         make the configuration the boot default
test:         activate the configuration, but don't make it the boot default
dry-activate: show what would be done if this configuration were activated
"""


def main(toplevel: str, arguments: list[str]) -> None:
    """Entry point of bin/switch-to-configuration."""
    if len(arguments) != 1 or arguments[0] not in ACTIONS:
        sys.stderr.write(USAGE)
        sys.exit(1)
    action = arguments[0]
    os.environ["NIXOS_ACTION"] = action
    if os.geteuid() != 0:
        say(f"{sys.argv[0]}: must be root")
        sys.exit(1)
    if not os.path.isfile("/etc/NIXOS"):
        say("This is not a NixOS installation!")
        sys.exit(1)
    os.makedirs(RUN, 0o755, exist_ok=True)
    lock = os.open(f"{RUN}/switch-to-configuration.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Could not acquire lock")
        sys.exit(EAGAIN)
    sys.exit(_locked(toplevel, action))


def _locked(toplevel: str, action: str) -> int:
    if action == "check":
        return 0
    if action in {"switch", "boot"}:
        status = run([f"{toplevel}/bin/install-bootloader", toplevel])
        if status != 0:
            say("Failed to install bootloader")
            return EXIT_BOOT_LOADER
    if os.environ.get("NIXOS_NO_SYNC") != "1":
        # Should the new configuration hang the machine, its files are on the disk.
        os.sync()
    if action == "boot":
        return 0
    if files.read("/run/current-system/init-interface-version", "") != files.read(
        f"{toplevel}/init-interface-version"
    ):
        say(
            "Warning: the new NixOS configuration has an ‘init’ that is\n"  # noqa: RUF001 - NixOS' own words
            "incompatible with the current configuration.  The new configuration\n"
            "won't take effect until you reboot the system.\n"
        )
        return EXIT_INTERFACE
    from .bus import Bus, Manager  # noqa: PLC0415 - half a second that `boot` need not pay

    manager = Manager(Bus())
    manager.subscribe()
    switch = Switch(toplevel, manager)
    return switch.dry_run() if action == "dry-activate" else switch.perform()


class Switch:
    """One live switch."""

    def __init__(self, toplevel: str, manager: Manager) -> None:
        self.toplevel = toplevel
        self.manager = manager
        self.new_units = f"{toplevel}/etc/systemd/system"
        self.active = manager.active_units()
        self.exit_status = 0
        self.plan = Plan()
        # What an interrupted switch still had to do.
        self.plan.start = _read_list("start")
        self.plan.restart = _read_list("restart")
        self.plan.reload = _read_list("reload")
        self.comparison = Comparison(
            self.plan, UNITS, self.new_units, {u: s[0] for u, s in self.active.items()}
        )
        self.comparison.collect(self._is_ours)
        self._fstab()
        self.new_systemd = self._systemd_changed()

    def _is_ours(self, unit: str) -> bool:
        """Whether systemd has the unit from the generation's directory."""
        path = self.manager.unit_property(unit, "Unit", "FragmentPath")
        return bool(str(path).startswith(UNITS))

    def _fstab(self) -> None:
        """Unmount, remount or mount again what changed in /etc/fstab."""
        old = _fstab(files.read("/etc/fstab", ""))
        new = _fstab(files.read(f"{self.toplevel}/etc/fstab", ""))
        for mount_point, (device, kind, options) in old.items():
            unit = _mount_unit(mount_point)
            if mount_point not in new:
                self.plan.stop.add(unit)
            elif new[mount_point][:2] != (device, kind):
                root = mount_point in {"/", "/nix"}
                (self.plan.skip if root else self.plan.restart).add(unit)
            elif new[mount_point][2] != options:
                self.plan.reload.add(unit)

    def _systemd_changed(self) -> bool:
        """Whether PID 1 has to re-execute itself: another binary, or another config."""
        binary = os.path.realpath(f"{self.toplevel}/systemd/lib/systemd/systemd")
        settings = "/etc/systemd/system.conf"
        # By content: this guest's /etc is one store path, NixOS' is one per file.
        changed = files.read(settings, "") != files.read(self.toplevel + settings, "")
        return changed or os.path.realpath("/proc/1/exe") != binary

    def dry_run(self) -> int:
        """Say what a switch would do."""
        plan = self.plan
        _tell("would stop the following units", plan.shown(plan.stop))
        _tell("would NOT stop the following changed units", plan.shown(plan.skip))
        say("would activate the configuration...")
        run([f"{self.toplevel}/dry-activate", self.toplevel])
        if self.new_systemd:
            say("would restart systemd")
        _tell("would reload the following units", plan.shown(plan.reload))
        _tell("would restart the following units", plan.shown(plan.restart))
        _tell("would start the following units", plan.shown(plan.start))
        return 0

    def perform(self) -> int:
        """Stop, activate, reload systemd, start; returns the exit status."""
        self._write_lists()
        self._stop()
        say("activating the configuration...")
        if run([f"{self.toplevel}/activate", self.toplevel]) != 0:
            say("Failed to run activate script")
            self.exit_status = EXIT_ACTIVATION
        self._requests_of_activation()
        if self.new_systemd:
            say("restarting systemd...")
            self.manager.reexecute()
        self.manager.reset_failed()
        self.manager.reload()
        self._users()
        self._reactivate_sysinit()
        self._bring_up()
        return self._judge()

    def _stop(self) -> None:
        _tell("stopping the following units", self.plan.shown(self.plan.stop))
        for unit in sorted(self.plan.stop):
            self._submit("stop", unit)
        self.manager.wait_for_jobs()
        _tell("NOT restarting the following changed units", sorted(self.plan.skip))

    def _submit(self, verb: str, unit: str) -> None:
        from .bus import BusError  # noqa: PLC0415 - see _locked

        try:
            self.manager.submit(verb, unit)
        except BusError as error:
            # A unit that is gone cannot be stopped, which is what was wanted.
            if verb != "stop":
                say(f"Failed to {verb} {unit}: {error}")
                self.exit_status = EXIT_UNITS

    def _requests_of_activation(self) -> None:
        """Units that activation scripts ask to restart or reload."""
        for unit in sorted(_read_list("activation-restart")):
            if unit not in self.active:
                self.plan.start.add(unit)
                continue
            path = f"{self.new_units}/{unit}"
            base = path if os.path.exists(path) else _template_path(path)
            if base and state_of(base) == "present":
                info = load(path, base)
                before = set(self.plan.stop)
                self.comparison.modified(unit, info)
                # Too late to stop with the old unit: restart instead.
                for stopped in self.plan.stop - before:
                    self.plan.restart.add(stopped)
                    self.plan.start.discard(stopped)
        for unit in _read_list("activation-reload") & self.active.keys():
            if unit not in self.plan.restart | self.plan.stop:
                self.plan.reload.add(unit)
        self._write_lists()
        _remove_list("activation-restart")
        _remove_list("activation-reload")

    def _users(self) -> None:
        """Let the users' own managers take the new units and binary over."""
        from .bus import logged_in_users, reexecute_user_manager  # noqa: PLC0415

        for uid, name in logged_in_users(self.manager.bus):
            if not os.path.exists(f"/run/user/{uid}/systemd/private"):
                continue
            say(f"reloading user units for {name}...")
            child = os.fork()
            if child == 0:
                try:
                    os.setresuid(uid, uid, uid)
                    reexecute_user_manager(uid)
                except OSError:
                    os._exit(1)
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                say(f"warning: user activation for {name} failed")
                self.exit_status = EXIT_UNITS

    def _reactivate_sysinit(self) -> None:
        say(f"restarting {REACTIVATION}")
        self._submit("restart", REACTIVATION)
        self.manager.wait_for_jobs()

    def _bring_up(self) -> None:
        plan = self.plan
        for unit in sorted(plan.reload):
            state = self.manager.active_units().get(unit, ("inactive", ""))[0]
            if state not in {"active", "activating"}:
                # Went down with something that was stopped: starting is all it needs.
                plan.reload.discard(unit)
                if self._may_start(unit):
                    plan.start.add(unit)
        for verb, units in (
            ("reload", plan.reload),
            ("restart", plan.restart),
            ("start", plan.start),
        ):
            _tell(f"{verb}ing the following units", plan.shown(units))
            for unit in sorted(units):
                self._submit(verb, unit)
            self.manager.wait_for_jobs()
            _remove_list(verb)

    def _may_start(self, unit: str) -> bool:
        path = f"{self.new_units}/{unit}"
        if not os.path.exists(path):
            return False
        info = load(path, path)
        return not boolean(info, "Unit", "RefuseManualStart", default=False)

    def _judge(self) -> int:
        """Report failed and new units."""
        for verb, unit, result in self.manager.results:
            if result in {"timeout", "failed", "dependency"}:
                say(f"Failed to {verb} {unit}")
                self.exit_status = EXIT_UNITS
        failed, new = [], []
        for unit, (state, sub_state) in self.manager.active_units().items():
            if state == "failed" or self._keeps_failing(unit, sub_state):
                failed.append(unit)
            elif unit not in self.active and not unit.endswith(".scope"):
                new.append(unit)
        _tell("the following new units were started", sorted(new, key=str.lower))
        if failed:
            failed.sort(key=str.lower)
            say(f"warning: the following units failed: {', '.join(failed)}")
            run(["systemctl", "status", "--no-pager", "--full", *failed])
            self.exit_status = EXIT_UNITS
        return self.exit_status

    def _keeps_failing(self, unit: str, sub_state: str) -> bool:
        """Whether a service waits for its next attempt: failed in all but name."""
        if sub_state != "auto-restart":
            return False
        status = self.manager.unit_property(unit, "Service", "ExecMainStatus")
        return bool(status)

    def _write_lists(self) -> None:
        """Remember what is to be done, for a switch after an interrupted one."""
        for kind, units in (
            ("start", self.plan.start),
            ("restart", self.plan.restart),
            ("reload", self.plan.reload),
        ):
            if units:
                text = "".join(f"{unit}\n" for unit in sorted(units))
                with open(f"{RUN}/{kind}-list", "w", encoding="utf-8") as file:
                    file.write(text)


def _tell(heading: str, units: list[str]) -> None:
    if units:
        say(f"{heading}: {', '.join(units)}")


def _read_list(kind: str) -> set[str]:
    return set(files.read(f"{RUN}/{kind}-list", "").split())


def _remove_list(kind: str) -> None:
    path = f"{RUN}/{kind}-list"
    if os.path.exists(path):
        os.unlink(path)


def _template_path(path: str) -> str | None:
    directory, _, unit = path.rpartition("/")
    template = template_of(unit)
    return f"{directory}/{template}" if template else None


def _fstab(text: str) -> dict[str, tuple[str, str, str]]:
    """Device, type and options by mount point."""
    rows = [line.split("#")[0].split() for line in text.splitlines()]
    least = 4
    return {
        row[1]: (row[0], row[2], row[3])
        for row in rows
        if len(row) >= least and row[2] != "swap"
    }


def _mount_unit(mount_point: str) -> str:
    """Return a mount point's unit, as `systemd-escape --path --suffix=mount` does."""
    path = mount_point.strip("/")
    if not path:
        return "-.mount"
    escaped = []
    for index, char in enumerate(path):
        if char == "/":
            escaped.append("-")
        elif char.isascii() and (
            char.isalnum() or char in ":_" or (char == "." and index)
        ):
            escaped.append(char)
        else:
            escaped.extend(f"\\x{byte:02x}" for byte in char.encode())
    return f"{''.join(escaped)}.mount"
