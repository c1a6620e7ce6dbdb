"""The shell as the module has it: init → tap-up → QEMU → tap-down.

The order is the module's, and it is kept in a log, so that a suite can judge it: init
never touches what exists, tap-down comes after every end of QEMU.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import MachineDied, MachineError
from harness.qemu import Emulator, launch
from harness.shell import weight as weights
from harness.shell.protocol import Shell
from harness.shell.steps import INIT, QEMU, QEMU_END, TAP_DOWN, TAP_UP, StepLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from harness.fleet import Vm
    from harness.shell.microvm import HostStore
    from harness.shell.recipe import Recipe
    from harness.site import Site

# How long a guest that is still booting may miss a press of the power button.
_PRESS_S = 4.0


class ModuleShell(Shell):
    """The module's own order around one machine, start after start.

    `sidecars` holds what runs next to QEMU, each time from before its start until after
    its end; `host_store` is what they serve to a microvm.
    """

    def __init__(
        self,
        recipe: Recipe,
        site: Site,
        *,
        sidecars: Callable[[], AbstractContextManager[object]] = nullcontext,
        host_store: HostStore | None = None,
    ) -> None:
        self._recipe = recipe
        self._site = site
        self._sidecars = sidecars
        self._host_store = host_store
        self._log = StepLog(recipe.directory / "lifecycle.jsonl")
        self._run: ExitStack | None = None
        self._emulator: Emulator | None = None

    @property
    def vm(self) -> Vm:
        """The VM's options, as last deployed."""
        return self._recipe.vm

    @property
    def directory(self) -> Path:
        """The state directory, which has logs and sockets too."""
        return self._recipe.directory

    @property
    def disk(self) -> Path:
        """The machine's own disk."""
        return self._recipe.disk

    @property
    def tap(self) -> str:
        """The name of the machine's tap."""
        return self._recipe.vm.tap

    @property
    def log(self) -> StepLog:
        """The steps taken so far."""
        return self._log

    @property
    def emulator(self) -> Emulator:
        """The QEMU of the last start, which may have ended. Raises MachineError."""
        if self._emulator is None:
            raise MachineError(f"{self.vm.name} was never started")
        return self._emulator

    @property
    def host_store(self) -> HostStore | None:
        """The host's /nix/store, for a microvm."""
        return self._host_store

    # Start and end ------------------------------------------------------------------

    def start(self, deadline: Deadline) -> Emulator:
        """Take all steps up to a running QEMU; what is left of an earlier run goes.

        Only the first start continues a saved state.
        """
        self.close()
        recipe = self._recipe
        with ExitStack() as stack:
            self._log.take(INIT, recipe.init(deadline))
            stack.callback(self._log.take, TAP_DOWN)
            tap = stack.enter_context(self._site.tap(recipe.vm.name))
            self._log.take(TAP_UP, tap)
            stack.enter_context(self._sidecars())
            running = launch(
                recipe.plan(tap), deadline=deadline, enter=self._site.enter
            )
            emulator = stack.enter_context(running)
            recipe.cold = True
            self._log.take(QEMU, f"pid {emulator.pid}")
            stack.callback(self._note_end, emulator)
            self._emulator = emulator
            self._run = stack.pop_all()
        return emulator

    def stop(self, deadline: Deadline) -> None:
        """Press the power button until the guest ends itself; then the tap goes.

        Again and again, because a guest that is still booting misses the first press.
        Raises DeadlineExpired when it does not end.
        """
        emulator = self.emulator
        mark = len(emulator.qmp.events)
        presses: list[Deadline] = []

        def press() -> None:
            if not presses or presses[-1].expired:
                seconds = _PRESS_S * self._recipe.accelerator.patience
                presses.append(Deadline.after(seconds, "the power button"))
                with suppress(MachineDied):  # the event that says so is on its way
                    emulator.qmp.execute("system_powerdown")

        emulator.qmp.wait_event("SHUTDOWN", deadline=deadline, since=mark, check=press)
        emulator.wait_end(deadline)
        self.close()

    def crash(self) -> None:
        """Send QEMU SIGKILL, then take the tap down."""
        self.emulator.kill()
        self.close()

    def close(self) -> None:
        """End QEMU if it still runs, and take the tap down. Harmless when repeated."""
        if self._run is not None:
            run, self._run = self._run, None
            run.close()

    def restarted(self, deadline: Deadline) -> bool:
        """Return False: nothing in this order starts a QEMU that ended."""
        _ = deadline
        return False

    def _note_end(self, emulator: Emulator) -> None:
        emulator.power_off()
        how = " ".join(emulator.rungs) or "on its own"
        status = emulator.process.poll()
        self._log.take(QEMU_END, f"{how}, exit status {status}")

    # The host's operator ------------------------------------------------------------

    def deploy(self, options: Mapping[str, object], deadline: Deadline) -> None:
        """Deploy other options; what runs is left alone: `restartIfChanged = false`."""
        _ = deadline
        self._recipe.vm = self._recipe.vm.model_copy(update=dict(options))

    def retire(self, deadline: Deadline) -> None:
        """Stop the machine, and delete its state directory."""
        self.stop(deadline)
        shutil.rmtree(self.directory)

    def reset(self, base: Path) -> None:
        """Delete the state directory; the next start makes a disk from `base`."""
        self.close()
        shutil.rmtree(self.directory)
        self._recipe.saved, self._recipe.base = None, base

    def set_link(self, *, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        self.emulator.qmp.execute("set_link", name="nic", up=up)

    @contextmanager
    def weighed(self, weight: int) -> Iterator[None]:
        """Give QEMU a CPU weight for the length of the `with`."""
        pid = self.emulator.pid
        with weights.weighed(self._site, self.vm.name, pid, weight):
            yield
