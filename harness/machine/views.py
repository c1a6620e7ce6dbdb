"""The views of a machine, one per subject, and testinfra's modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from harness.guest.inodes import Inodes
from harness.guest.lab import Lab
from harness.guest.network import Network
from harness.guest.secrets import Secrets
from harness.guest.store import Store
from harness.guest.system import System
from harness.guest.testinfra import testinfra_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fleet import LabSpec
    from harness.guest.agent import AgentTransport
    from harness.guest.transport import CommandResult
    from harness.host import Accelerator


class Views(ABC):
    """The half of a machine that asks questions; the other half drives QEMU."""

    agent: AgentTransport
    accelerator: Accelerator

    def __init__(
        self,
        lab: LabSpec,
        *,
        after_rebuild: Callable[[], None],
        after_collection: Callable[[], None],
    ) -> None:
        self.lab = Lab(self, unit=lab.unit, user=lab.user, port=lab.port)
        self.system = System(self, after_rebuild)
        self.store = Store(self, after_collection)
        self.inodes = Inodes(self)
        self.network = Network(self)
        self.secrets = Secrets(self)

    @abstractmethod
    def execute(
        self, *words: str, timeout: float = 60.0, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command as root to its end; its exit status is the caller's to judge.

        `timeout` is in seconds under KVM, stretched to the speed of this computer.
        """

    @property
    def testinfra(self) -> Any:
        """The guest as pytest-testinfra's host, for its ordinary modules."""
        return testinfra_host(self.agent, timeout=60.0 * self.accelerator.patience)
