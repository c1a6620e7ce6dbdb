"""The interface between a machine and its shell, and a base class that alters one."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from harness.deadline import Deadline
    from harness.fleet import Vm
    from harness.qemu import Emulator
    from harness.shell.microvm import HostStore
    from harness.shell.steps import StepLog


class Shell(Protocol):
    """Everything that a host does for one VM: disk, tap, start, stop, deploy, weight.

    The verbs are those of the host's operator. None of them asks the guest agent.
    """

    @property
    @abstractmethod
    def vm(self) -> Vm:
        """The VM's options, as last deployed."""

    @property
    @abstractmethod
    def directory(self) -> Path:
        """The state directory, which has logs and sockets too."""

    @property
    @abstractmethod
    def disk(self) -> Path:
        """The machine's own disk."""

    @property
    @abstractmethod
    def tap(self) -> str:
        """The name of the machine's tap."""

    @property
    @abstractmethod
    def log(self) -> StepLog:
        """The steps taken so far."""

    @property
    @abstractmethod
    def emulator(self) -> Emulator:
        """The QEMU of the last start, which may have ended. Raises MachineError."""

    @property
    @abstractmethod
    def host_store(self) -> HostStore | None:
        """The host's /nix/store as the guest sees it; None for a guest with its own."""

    @abstractmethod
    def start(self, deadline: Deadline) -> Emulator:
        """Take all steps up to a running QEMU, after `close`."""

    @abstractmethod
    def stop(self, deadline: Deadline) -> None:
        """Ask the guest to end, wait until QEMU has ended, take the tap down.

        Raises DeadlineExpired where the guest does not end in time.
        """

    @abstractmethod
    def crash(self) -> None:
        """Send QEMU SIGKILL, and take the tap down as after any other end."""

    @abstractmethod
    def close(self) -> None:
        """End QEMU if it still runs, and take the tap down. Harmless when repeated."""

    @abstractmethod
    def restarted(self, deadline: Deadline) -> bool:
        """Wait for the host to start a QEMU that ended; False where it never does."""

    @abstractmethod
    def deploy(self, options: Mapping[str, object], deadline: Deadline) -> None:
        """Deploy other options for this VM on the host; the next start has them."""

    @abstractmethod
    def retire(self, deadline: Deadline) -> None:
        """Remove the VM from its host: `stop`, then the state directory is deleted."""

    @abstractmethod
    def reset(self, base: Path) -> None:
        """Delete the state directory; the next start makes a disk from `base`."""

    @abstractmethod
    def set_link(self, *, up: bool) -> None:
        """Plug the network cable in, or pull it."""

    @abstractmethod
    def weighed(self, weight: int) -> AbstractContextManager[None]:
        """Give QEMU a CPU weight, 1 to 10000, for the length of the `with`.

        Raises HostError where this computer permits no control groups.
        """


class AlteredShell(Shell):
    """A shell that does what another one does. Override the verbs that differ."""

    def __init__(self, inner: Shell) -> None:
        self.inner = inner

    @property
    def vm(self) -> Vm:
        """The VM's options."""
        return self.inner.vm

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.inner.directory

    @property
    def disk(self) -> Path:
        """The machine's own disk."""
        return self.inner.disk

    @property
    def tap(self) -> str:
        """The name of the machine's tap."""
        return self.inner.tap

    @property
    def log(self) -> StepLog:
        """The steps taken so far."""
        return self.inner.log

    @property
    def emulator(self) -> Emulator:
        """The QEMU of the last start."""
        return self.inner.emulator

    @property
    def host_store(self) -> HostStore | None:
        """The host's /nix/store, for a microvm."""
        return self.inner.host_store

    def start(self, deadline: Deadline) -> Emulator:
        """Start QEMU."""
        return self.inner.start(deadline)

    def stop(self, deadline: Deadline) -> None:
        """Ask the guest to end."""
        self.inner.stop(deadline)

    def crash(self) -> None:
        """Kill QEMU."""
        self.inner.crash()

    def close(self) -> None:
        """End what still runs."""
        self.inner.close()

    def restarted(self, deadline: Deadline) -> bool:
        """Wait for a restart."""
        return self.inner.restarted(deadline)

    def deploy(self, options: Mapping[str, object], deadline: Deadline) -> None:
        """Deploy other options."""
        self.inner.deploy(options, deadline)

    def retire(self, deadline: Deadline) -> None:
        """Remove the VM."""
        self.inner.retire(deadline)

    def reset(self, base: Path) -> None:
        """Delete the state directory."""
        self.inner.reset(base)

    def set_link(self, *, up: bool) -> None:
        """Plug the cable in, or pull it."""
        self.inner.set_link(up=up)

    def weighed(self, weight: int) -> AbstractContextManager[None]:
        """Give QEMU a CPU weight."""
        return self.inner.weighed(weight)
