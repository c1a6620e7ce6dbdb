"""The shell that is a module's own systemd units, run by a real systemd.

Each start is the boot of a host: a new systemd, in which the machine's unit and all
that it pulls in are started. Order, conditions, `Restart=`, timeouts and kills are
systemd's. Steps are read off what they leave: files below /var/lib, network links, and
a QEMU on whose path the shim lies (`harness.shell.shim`).
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, GuestFailure, HarnessError, MachineError
from harness.qemu import Console, Emulator, MachinePlan, peer, qmp
from harness.shell import shim
from harness.shell import weight as weights
from harness.shell.command import CommandLine
from harness.shell.manager import UnitProcess, last_lines, open_manager
from harness.shell.protocol import Shell
from harness.shell.steps import INIT, QEMU, QEMU_END, TAP_DOWN, TAP_UP, StepLog
from harness.shell.unitdir import STATE, UnitDirectory
from harness.shell.units import enable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.fleet import Vm
    from harness.host import Accelerator
    from harness.shell.manager import UnitManager
    from harness.shell.units import Units
    from harness.site import Site

_START_S = 300.0
_STOP_MARGIN_S = 30.0
_SETTLE_S = 2.0
_STATES = (
    "ActiveState", "Result", "ExecMainStatus", "ConditionTimestamp", "ConditionResult",
)  # fmt: skip
_OVER = frozenset({"inactive", "failed"})


@dataclass
class _Host:
    """What one start has: its systemd, and what was there before."""

    stack: ExitStack
    manager: UnitManager
    files: dict[str, list[int]]
    links: dict[str, int]
    taps: dict[str, int] = field(default_factory=dict)
    attached: ExitStack = field(default_factory=ExitStack)


class UnitShell(Shell):
    """The shell of a machine whose units were adopted."""

    def __init__(
        self,
        units: Units,
        vm: Vm,
        site: Site,
        directory: Path,
        accelerator: Accelerator,
    ) -> None:
        self.units = units
        self.asked = CommandLine.of(())
        """What the units asked of QEMU, before it was scaled down."""
        self._vm = vm
        self._site = site
        self._directory = directory
        self._place = UnitDirectory(units, directory, accelerator)
        self._accelerator = accelerator
        self._log = StepLog(directory / "lifecycle.jsonl")
        self._host: _Host | None = None
        self._emulator: Emulator | None = None

    @property
    def vm(self) -> Vm:
        """The VM's options, as last deployed."""
        return self._vm

    @property
    def directory(self) -> Path:
        """Logs and sockets, and in `state` what the units have in /var/lib."""
        return self._directory

    @property
    def disk(self) -> Path:
        """The first file on QEMU's command line, where it really is."""
        for file in map(Path, self.asked.files[:1]):
            inside = file.is_relative_to(STATE)
            return self._place.state / file.relative_to(STATE) if inside else file
        return self._directory / "disk.qcow2"

    @property
    def tap(self) -> str:
        """The tap on QEMU's command line."""
        return self.asked.taps[0] if self.asked.taps else self._vm.tap

    @property
    def log(self) -> StepLog:
        """The steps taken so far."""
        return self._log

    @property
    def emulator(self) -> Emulator:
        """The QEMU of the last start, which may have ended. Raises MachineError."""
        if self._emulator is None:
            raise MachineError(f"{self._vm.name} was never started")
        return self._emulator

    @property
    def host_store(self) -> None:
        """None: the guest has a store of its own."""
        return

    @property
    def _state(self) -> Path:
        return self._directory / "state"

    @property
    def _main(self) -> str:
        return self.units.main.name

    # Starting -----------------------------------------------------------------------

    def start(self, deadline: Deadline) -> Emulator:
        """Boot a host's systemd, and start the machine's unit in it.

        Raises GuestFailure where a unit fails. An init that remains active after its
        end runs at every start: each one is the host's own start.
        """
        self.close()
        covers = self._place.prepare(self._plan)
        seen = shim.files(self._place.state), self._links()
        with ExitStack() as stack:
            opening = open_manager(self._directory, self._site.enter, covers=covers)
            manager = stack.enter_context(opening)
            enable(manager, self.units.names)
            awaited = self._deadline(_START_S, f"{self._main} to start")
            started = manager.systemctl("start", self._main, deadline=awaited)
            if started.rc != 0:
                raise self._failure(manager, "could not be started")
            host = _Host(stack, manager, *seen)
            stack.callback(host.attached.close)
            self._attach(host, deadline, first=True)
            self._host = host
            host.stack = stack.pop_all()
        return self.emulator

    def _attach(self, host: _Host, deadline: Deadline, *, first: bool) -> None:
        """Connect to the QEMU that the unit has started, and note the steps to it."""
        mark = Console(*self._console).size
        wire = self._connect(host.manager, deadline)
        record = json.loads((self._place.inside / "given.json").read_text())
        self.asked = CommandLine.of(record["argv"])
        if first:
            self._note_init(host, record["files"])
        self._note_taps(host, self._links())
        plan = self._plan
        talk = qmp.connect(wire, self._directory / "qmp.jsonl", deadline)
        try:
            monitor = host.attached.enter_context(talk)
        except MachineError as death:  # it opens its channel before its disk
            raise self._failure(host.manager, "ended without a QEMU") from death
        words = ("qemu", *record["argv"])
        (self._directory / "argv.txt").write_text(shlex.join(words) + "\n")
        pid = peer(plan)
        process = UnitProcess(pid, host.manager, self._main)
        console = Console(plan.console_log, plan.console_socket)
        emulator = Emulator(
            plan, words, process, monitor, console, pid, panics_from=mark
        )
        console.watch(emulator.check)
        self._log.take(QEMU, f"pid {pid}")
        self._emulator = emulator

    def _connect(self, manager: UnitManager, deadline: Deadline) -> socket.socket:
        """Wait for QEMU's control channel; GuestFailure where the unit ended before."""

        def attempt() -> socket.socket | None:
            wire = socket.socket(socket.AF_UNIX)
            try:
                wire.connect(str(self._place.inside / "qmp.sock"))
            except OSError:
                wire.close()
            else:
                return wire
            if manager.state(self._main) in _OVER:
                raise self._failure(manager, "ended without a QEMU")
            return None

        try:
            return poll(attempt, deadline, interval=0.05)
        except DeadlineExpired as error:
            raise self._failure(manager, "came to no QEMU in time") from error

    def _note_init(self, host: _Host, files: Mapping[str, list[int]]) -> None:
        """Say what ran before the machine's unit, and what it did by what changed."""
        if names := ", ".join(unit.name for unit in self.units.before):
            self._log.take(INIT, f"{names}: {_changes(host.files, files)}")

    def _note_taps(self, host: _Host, links: Mapping[str, int]) -> None:
        self._note_gone(host, links)
        host.taps = {n: i for n, i in links.items() if host.links.get(n) != i}
        if host.taps:
            self._log.take(TAP_UP, ", ".join(sorted(host.taps)))

    def _failure(self, manager: UnitManager, what: str) -> GuestFailure:
        said = last_lines(self._place.inside / "units.log", 15)
        return GuestFailure(
            f"{self._main}: {what}",
            seen="; ".join(_states(manager.show_all(self.units.names, *_STATES))),
            evidence=[*said, *manager.said],
        )

    # Ending -------------------------------------------------------------------------

    def stop(self, deadline: Deadline) -> None:
        """Run `systemctl stop`; how long that may take is for the unit to say."""
        self._systemctl_stop([self._main], deadline)
        self.close()

    def _systemctl_stop(self, names: list[str], deadline: Deadline) -> None:
        manager = self._running.manager
        own = self.units.main.stop_timeout * self._accelerator.patience
        seconds = deadline.remaining if math.isinf(own) else 2 * own + _STOP_MARGIN_S
        awaited = Deadline.after(seconds, f"systemctl stop {' '.join(names)}")
        manager.systemctl("stop", *names, deadline=awaited)
        # The events of QEMU's last moment are still on their way to us.
        with suppress(HarnessError):
            settle = Deadline.after(_SETTLE_S, "QEMU's last event")
            self.emulator.qmp.wait_event("SHUTDOWN", deadline=settle)

    def crash(self) -> None:
        """Kill QEMU. What `Restart=` would do next waits for the next start."""
        self._keep_down()
        self.emulator.kill()
        self.close()

    def close(self) -> None:
        """End what still runs, and the host with it."""
        if self._host is None:
            return
        host, self._host = self._host, None
        try:
            if self.emulator.running:
                self._keep_down(host)
                self.emulator.power_off()
            with suppress(HarnessError):
                self._await_over(host)
            self._note_end(host)
        finally:
            host.stack.close()

    def restarted(self, deadline: Deadline) -> bool:
        """Wait for `Restart=` to start QEMU again; False where systemd leaves it."""
        host = self._running
        self._note_qemu_end()
        host.attached.close()
        try:
            self._attach(host, deadline, first=False)
        except GuestFailure:
            return False
        return True

    def _keep_down(self, host: _Host | None = None) -> None:
        """Have systemd not start the unit again, so that its end can be looked at."""
        manager = (host or self._running).manager
        self._place.drop_in("zz-keep-down", "[Service]\nRestart=no\n")
        manager.systemctl("daemon-reload").check()

    def _await_over(self, host: _Host) -> None:
        own = self.units.main.stop_timeout * self._accelerator.patience
        seconds = _START_S if math.isinf(own) else own + _STOP_MARGIN_S
        poll(
            lambda: host.manager.state(self._main) in _OVER or None,
            Deadline.after(seconds, f"{self._main} to be over"),
            interval=0.05,
        )

    def _note_end(self, host: _Host) -> None:
        self._note_qemu_end()
        self._note_gone(host, self._links())

    def _note_qemu_end(self) -> None:
        emulator = self.emulator
        if QEMU_END in self._log.since(QEMU) or emulator.running:
            return
        reasons = [
            str(event.data.get("reason"))
            for event in emulator.qmp.events
            if event.name == "SHUTDOWN"
        ]
        own = reasons[-1:] == ["guest-shutdown"] and not emulator.rungs
        how = "on its own" if own else " ".join([*emulator.rungs, *reasons[-1:]])
        status = emulator.process.poll()
        self._log.take(QEMU_END, f"{how or 'ended'}, exit status {status}")

    def _note_gone(self, host: _Host, links: Mapping[str, int]) -> None:
        gone = sorted(name for name, i in host.taps.items() if links.get(name) != i)
        if gone:
            self._log.take(TAP_DOWN, ", ".join(gone))
        host.taps = {n: i for n, i in host.taps.items() if n not in gone}

    # The host's operator ------------------------------------------------------------

    def deploy(self, options: Mapping[str, object], deadline: Deadline) -> None:
        """Do what a deploy of the host does that has changed all of the units.

        What is not marked to be left alone is stopped, and started again.
        """
        self._vm = self._vm.model_copy(update=dict(options))
        if changed := self.units.restarted_by_a_deploy:
            self._systemctl_stop(list(changed), deadline)
            if not self.emulator.running:
                self.start(deadline)

    def retire(self, deadline: Deadline) -> None:
        """Stop the unit, and delete all that it had."""
        self.stop(deadline)
        shutil.rmtree(self._directory)

    def reset(self, base: Path) -> None:
        """Delete the state; the units have a base image of their own."""
        _ = base
        self.close()
        shutil.rmtree(self._directory)

    def set_link(self, *, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        self.emulator.qmp.execute("set_link", name="nic", up=up)

    @contextmanager
    def weighed(self, weight: int) -> Iterator[None]:
        """Give QEMU a CPU weight for the length of the `with`."""
        pid = self.emulator.pid
        with weights.weighed(self._site, self._vm.name, pid, weight):
            yield

    # Around it ----------------------------------------------------------------------

    @property
    def _inside(self) -> Path:
        return self._directory / "inside"

    @property
    def _running(self) -> _Host:
        if self._host is None:
            raise MachineError(f"{self._vm.name} is not running")
        return self._host

    @property
    def _plan(self) -> MachinePlan:
        return self._place.plan(self._vm, self.disk, self.tap)

    @property
    def _console(self) -> tuple[Path, Path]:
        plan = self._plan
        return plan.console_log, plan.console_socket

    def _deadline(self, seconds: float, awaited: str) -> Deadline:
        return Deadline.after(seconds * self._accelerator.patience, awaited)

    def _links(self) -> dict[str, int]:
        awaited = Deadline.after(_STOP_MARGIN_S, "the links of the site")
        listed = self._site.execute(["ip", "-json", "link", "show"], deadline=awaited)
        links = json.loads(listed.check().stdout or "[]")
        return {link["ifname"]: link["ifindex"] for link in links}


def _states(shown: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, now in shown.items():
        if now["ConditionTimestamp"] and now["ConditionResult"] == "no":
            yield f"{name} skipped by a condition"
        elif "Result" in now:
            how = f"{now['Result']}, exit status {now['ExecMainStatus']}"
            yield f"{name} {now['ActiveState']}, {how}"


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    if after == before:
        return "state already present"
    changed = sorted(name for name in after if after[name] != before.get(name))
    lost = sorted(before.keys() - after.keys())
    return f"made or changed {changed}, removed {lost}"
