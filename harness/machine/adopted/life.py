"""The running of adopted units: what systemd would do, inside a site.

Steps are not taken on anybody's word: init counts by what it did to the state
directory, tap-up and tap-down by the tap that came and went, QEMU by its own start.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, GuestFailure, InputError, Mistake
from harness.machine.adopted import shim
from harness.process import run, spawn
from harness.qemu import Emulator, Unit, qmp
from harness.qemu.console import Console
from harness.qemu.launch import peer
from harness.qemu.lifecycle import INIT, QEMU, QEMU_END, TAP_DOWN, TAP_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.machine.adopted.units import Command, UnitFile, Units
    from harness.process import Completed, Popen
    from harness.qemu import MachinePlan, StepLog
    from harness.site import Site

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EMULATOR = re.compile(r"(?:/[\w.+/-]+/)?qemu-(?:system-x86_64|kvm)\b")
_FILE = re.compile(r"/[\w.+/@-]+")
_DEPTH = 3  # scripts that call scripts that call QEMU
_LARGEST = 1 << 18  # bytes of a script
_STEP_S = 300.0
_STOP_S = 90.0  # systemd's DefaultTimeoutStopSec

# What a unit's commands may write to: the machine's own state, /run and /tmp. Nothing
# else of this computer, whatever its module was written for.
_GROUND = """\
set -eu
mount --bind {directory} {directory}
mkdir -p {directory}/state
mount --bind {directory}/state /var/lib
mount --bind /tmp /tmp
{emulators}
mount -o remount,bind,ro /
exec "$@"
"""


class AdoptedUnit(Unit):
    """A machine's units, interpreted; in place of our own `Unit`."""

    def __init__(
        self,
        units: Units,
        site: Site,
        *,
        plan: Callable[[str], MachinePlan],
        journal: StepLog,
        patience: float,
    ) -> None:
        first = plan("")
        super().__init__(
            first.name, site, init=lambda _: "", plan=plan, journal=journal
        )
        self.units = units
        self.given: tuple[str, ...] = ()
        self._site = site
        self._directory = first.directory
        self._patience = patience
        self._result = "success"

    @property
    def state(self) -> Path:
        """Where /var/lib of the units really is."""
        return self._directory / "state"

    # Starting -----------------------------------------------------------------------

    def start(self, deadline: Deadline) -> Emulator:
        """Do what `systemctl start` would; raises GuestFailure where a unit fails.

        An init that stays active after its end is run again nevertheless: as after a
        start of the host.
        """
        self.close()
        self._prepare()
        main = self.units.main
        before = set(self._site.taps())
        with ExitStack() as stack:
            for unit in self.units.before:
                self.journal.take(INIT, self._init_by(unit))
            stack.callback(self._stop_post)
            self._make_directories(main)
            for command in main.commands("ExecStartPre"):
                self._demand(main, "ExecStartPre", command)
            self._note_taps(before)
            (command,) = main.commands("ExecStart")
            emulator = stack.enter_context(self._launch(main, command, deadline))
            self._note_taps(before)
            self.journal.take(QEMU, f"pid {emulator.pid}")
            stack.callback(self._note_qemu_end, emulator)
            self._emulator = emulator
            self._run = stack.pop_all()
        return emulator

    def _init_by(self, unit: UnitFile) -> str:
        """Run a oneshot, and say what it did by what has changed."""
        for condition in unit.all("ConditionPathExists"):
            absent = condition.startswith("!")
            path = condition.removeprefix("!")
            there = self._enter_and_run(["test", "-e", path], unit, {}).rc == 0
            if there == absent:
                return f"{unit.name}: skipped, {condition}: state already present"
        self._make_directories(unit)
        before = self._files()
        for key in ("ExecStartPre", "ExecStart"):
            for command in unit.commands(key):
                self._demand(unit, key, command)
        after = self._files()
        if after == before:
            return f"{unit.name}: state already present"
        changed = sorted(name for name in after if after[name] != before.get(name))
        lost = sorted(before.keys() - after.keys())
        return f"{unit.name}: made or changed {changed}, removed {lost}"

    def _files(self) -> dict[str, tuple[int, int, int]]:
        """List what is in the state directories, as it is told apart."""
        found = {}
        for path in sorted(self.state.rglob("*")):
            if path.is_file():
                status = path.stat()
                told = (status.st_ino, status.st_size, status.st_mtime_ns)
                found[str(path.relative_to(self.state))] = told
        return found

    def _make_directories(self, unit: UnitFile) -> None:
        for key, root in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
            for name in unit.all(key):
                made = ["mkdir", "-p", f"{root}/{name}"]
                self._enter_and_run(made, unit, {}).check()

    def _note_taps(self, before: set[str]) -> None:
        if TAP_UP in self.journal.order[self._since(QEMU_END) :]:
            return
        for tap in sorted(set(self._site.taps()) - before):
            self.journal.take(TAP_UP, tap)

    def _since(self, step: str) -> int:
        order = self.journal.order
        return len(order) - order[::-1].index(step) if step in order else 0

    # QEMU ---------------------------------------------------------------------------

    @contextmanager
    def _launch(
        self, unit: UnitFile, command: Command, deadline: Deadline
    ) -> Iterator[Emulator]:
        plan = self._plan("")
        for path in (plan.console_socket, plan.agent_socket, plan.monitor_socket):
            path.unlink(missing_ok=True)
        control = self._directory / "qmp.sock"
        control.unlink(missing_ok=True)
        argv = self._entered(command.expanded(unit.environment), unit, {})
        with ExitStack() as stack:
            output = stack.enter_context((self._directory / "qemu.log").open("ab"))
            process = stack.enter_context(
                spawn(["setsid", *argv], stdout=output, stderr=output)
            )
            console = Console(plan.console_log, plan.console_socket)
            mark = console.size
            wire = self._connect(control, process, deadline)
            talk = qmp.connect(wire, self._directory / "qmp.jsonl", deadline)
            monitor = stack.enter_context(talk)
            record = json.loads((self._directory / "given.json").read_text())
            self.given = tuple(record["argv"])
            words = ("qemu", *self.given)
            (self._directory / "argv.txt").write_text(shlex.join(words) + "\n")
            emulator = Emulator(
                plan, words, process, monitor, console, peer(plan), panics_from=mark
            )
            console.watch(emulator.check)
            try:
                yield emulator
            finally:
                emulator.power_off()

    def _connect(
        self, path: Path, process: Popen[bytes], deadline: Deadline
    ) -> socket.socket:
        """Wait for QEMU's control channel; GuestFailure where the unit ended before."""

        def attempt() -> socket.socket | None:
            wire = socket.socket(socket.AF_UNIX)
            try:
                wire.connect(str(path))
            except OSError:
                wire.close()
            else:
                return wire
            if process.poll() is not None:
                log = (self._directory / "qemu.log").read_text(errors="replace")
                raise GuestFailure(
                    f"{self.units.main.name}: ExecStart ended without a QEMU",
                    seen=f"exit status {process.returncode}",
                    evidence=log.splitlines()[-10:],
                )
            return None

        return poll(attempt, deadline)

    # Stopping -----------------------------------------------------------------------

    def stop(self) -> None:
        """Do what `systemctl stop` would: ExecStop, then a signal, each timed."""
        unit, emulator = self.units.main, self.emulator
        seconds = unit.seconds("TimeoutStopSec", _STOP_S) * self._patience
        extra = {"MAINPID": str(_inner_pid(emulator.pid))}
        for command in unit.commands("ExecStop"):
            with suppress(DeadlineExpired):
                self._enter_and_run(
                    command.expanded({**unit.environment, **extra}),
                    unit,
                    extra,
                    seconds=seconds,
                )
        if unit.last("KillMode") != "none" and emulator.running:
            name = unit.last("KillSignal", "SIGTERM")
            emulator.rungs.append(name)
            emulator.signal(signal.Signals[name])
            with suppress(DeadlineExpired):
                emulator.wait_end(Deadline.after(seconds, "QEMU to end by a signal"))

    def _stop_post(self) -> None:
        """Run ExecStopPost, as systemd does however the service ended."""
        unit, before = self.units.main, set(self._site.taps())
        extra = {"SERVICE_RESULT": self._result, "EXIT_CODE": "exited"}
        for command in unit.commands("ExecStopPost"):
            argv = command.expanded({**unit.environment, **extra})
            self._enter_and_run(argv, unit, extra)
        if gone := sorted(before - set(self._site.taps())):
            self.journal.take(TAP_DOWN, ", ".join(gone))

    def _note_qemu_end(self, emulator: Emulator) -> None:
        emulator.power_off()
        status = emulator.process.poll()
        self._result = "success" if status == 0 else "signal"
        how = " ".join(emulator.rungs) or "by itself"
        self.journal.take(QEMU_END, f"{how}, exit status {status}")

    # Commands -----------------------------------------------------------------------

    def _demand(self, unit: UnitFile, key: str, command: Command) -> None:
        done = self._enter_and_run(command.expanded(unit.environment), unit, {})
        if done.rc != 0 and not command.may_fail:
            raise GuestFailure(
                f"{unit.name}: {key}={shlex.join(command.argv)} failed",
                seen=f"exit status {done.rc}",
                evidence=(done.stdout + done.stderr).splitlines()[-20:],
            )

    def _enter_and_run(
        self,
        argv: list[str],
        unit: UnitFile,
        extra: dict[str, str],
        seconds: float = _STEP_S,
    ) -> Completed:
        deadline = Deadline.after(seconds, f"{unit.name}: {shlex.join(argv)}")
        done = run(self._entered(argv, unit, extra), deadline=deadline)
        with (self._directory / "units.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(argv)}\n{done.stdout}{done.stderr}[{done.rc}]\n")
        return done

    def _entered(
        self, argv: list[str], unit: UnitFile, extra: dict[str, str]
    ) -> list[str]:
        """Put a command into the site, with a unit's own environment alone."""
        told = {"PATH": _PATH, "LANG": "C.UTF-8", **unit.environment, **extra}
        states = ":".join(f"/var/lib/{name}" for name in unit.all("StateDirectory"))
        if states:
            told["STATE_DIRECTORY"] = states
        clean = ["env", "-i", *(f"{name}={value}" for name, value in told.items())]
        place = unit.last("WorkingDirectory", "/").removeprefix("-")
        inputs = ["unshare", "--mount", "sh", str(self._directory / "ground.sh")]
        return self._site.enter([*inputs, "env", "-C", place, *clean, *argv])

    def _prepare(self) -> None:
        """Lay out what stands between the units and this computer."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        plan = self._plan("")
        facts = {
            "record": str(self._directory / "given.json"),
            "accelerator": plan.accelerator,
            "cpu": plan.cpu,
            "mem": plan.mem,
            "vcpu": plan.vcpu,
            "agent": str(plan.agent_socket),
            "console": str(plan.console_socket),
            "log": str(plan.console_log),
            "monitor": str(plan.monitor_socket),
            "qmp": str(self._directory / "qmp.sock"),
        }
        file = self._directory / "facts.json"
        file.write_text(json.dumps(facts, indent=1) + "\n")
        (self._directory / "given.json").unlink(missing_ok=True)
        words = [sys.executable, "-I", "-S", str(Path(shim.__file__)), str(file)]
        stand_in = self._directory / "qemu"
        stand_in.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$0" "$@"\n')
        stand_in.chmod(0o755)
        covers = "\n".join(
            f"mount --bind {shlex.quote(str(stand_in))} {shlex.quote(path)}"
            for path in emulators(self.units)
        )
        inputs = _GROUND.format(
            directory=shlex.quote(str(self._directory)), emulators=covers
        )
        (self._directory / "ground.sh").write_text(inputs)


def emulators(units: Units) -> list[str]:
    """Find every QEMU that the units start, themselves or by a script of theirs.

    Raises InputError when there is none on this computer.
    """
    path = units.main.environment.get("PATH", _PATH)
    names: set[str] = set()
    texts, seen = [units.text], set[str]()
    for _ in range(_DEPTH):
        found = "\n".join(texts)
        names |= set(_EMULATOR.findall(found))
        files = set(_FILE.findall(found)) - seen
        seen |= files
        texts = [text for file in sorted(files) if (text := _script(Path(file)))]
    resolved = {name: shutil.which(name, path=path) for name in sorted(names)}
    there = {os.path.realpath(where) for where in resolved.values() if where}
    if not there:
        told = ", ".join(resolved) or "no command of theirs names one"
        mistake = Mistake(
            "--unit", "ExecStart", told, "a QEMU that is on this computer"
        )
        raise InputError("the units start no QEMU", [mistake])
    return sorted(there)


def _script(path: Path) -> str:
    with suppress(OSError, UnicodeError):
        if path.is_file() and path.stat().st_size < _LARGEST:
            return path.read_text(encoding="utf-8")
    return ""


def _inner_pid(pid: int) -> int:
    """Return what a process is called inside the site."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid
