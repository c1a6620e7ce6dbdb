"""The half of a machine that has the guest run commands, and waits for them."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, GuestFailure
from harness.guest.transport import CommandResult, abbreviate
from harness.machine.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.qemu import Console

# Budgets in seconds under KVM; the accelerator's patience stretches them.
COMMAND_S = 60.0
UNIT_S = 60.0


class Commands(Views):
    """What suites have a guest do. The verbs are those of the NixOS test driver."""

    name: str

    @property
    @abstractmethod
    def console(self) -> Console:
        """The serial console, with everything it ever printed."""

    @abstractmethod
    def deadline(self, seconds: float, awaited: str) -> Deadline:
        """Give up after `seconds`, stretched to the speed of this computer."""

    # Commands -----------------------------------------------------------------------

    def execute(
        self, *words: str, timeout: float = COMMAND_S, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command as root to its end; its exit status is the caller's to judge.

        `timeout` is in seconds under KVM, stretched to the speed of this computer.
        """
        deadline = self.deadline(timeout, abbreviate(words))
        return self.agent.execute(words, deadline=deadline, stdin=stdin)

    def succeed(
        self, *words: str, timeout: float = COMMAND_S, stdin: bytes = b""
    ) -> str:
        """Run a command that must end with 0; return what it printed."""
        return self.execute(*words, timeout=timeout, stdin=stdin).check().stdout

    def fail(self, *words: str, timeout: float = COMMAND_S) -> str:
        """Run a command that must not end with 0; return what it printed."""
        result = self.execute(*words, timeout=timeout)
        if result.succeeded:
            raise GuestFailure(
                f"{self.name}: succeeded, but must fail: {abbreviate(words)}",
                evidence=result.output.splitlines()[-20:],
            )
        return result.output

    def sh(self, script: str, timeout: float = COMMAND_S) -> CommandResult:
        """Run a shell script; one process for many questions is far cheaper."""
        return self.execute("sh", "-c", script, timeout=timeout)

    def write_file(self, path: str, data: str | bytes) -> None:
        """Create or replace a file in the guest."""
        raw = data.encode() if isinstance(data, str) else data
        self.agent.write_file(path, raw, deadline=self.deadline(COMMAND_S, path))

    def read_file(self, path: str) -> str:
        """Read a text file of the guest; costs the guest no process."""
        deadline = self.deadline(COMMAND_S, path)
        return self.agent.read_file(path, deadline=deadline).decode(errors="replace")

    # Waits --------------------------------------------------------------------------

    def wait_for_unit(self, unit: str, timeout: float = UNIT_S) -> None:
        """Wait until a unit is active; give up at once when it cannot become so.

        Raises GuestFailure when it has failed, or is inactive with no job under way.
        """
        show = ("systemctl", "show", unit, "-p", "ActiveState,SubState,Job,Result")
        deadline = self.deadline(timeout, f"unit {unit}")
        seen: dict[str, str] = {}

        def look() -> bool | None:
            said = self.agent.execute(show, deadline=deadline).check().stdout
            seen.update(line.partition("=")[::2] for line in said.splitlines())
            state = seen.get("ActiveState")
            if state == "failed" or (state == "inactive" and not seen.get("Job")):
                status = self.execute("systemctl", "status", "--no-pager", unit)
                raise GuestFailure(
                    f"{self.name}: unit {unit} is {state}",
                    seen=str(seen),
                    evidence=status.output.splitlines()[-20:],
                )
            return True if state == "active" else None

        with self._judged(f"unit {unit} did not become active", lambda: str(seen)):
            poll(look, deadline, interval=0.5)

    def wait_until_succeeds(self, *words: str, timeout: float = UNIT_S) -> str:
        """Repeat a command until it ends with 0; return what it printed."""
        deadline = self.deadline(timeout, abbreviate(words))
        last: list[CommandResult] = []

        def look() -> CommandResult | None:
            last[:] = [self.agent.execute(words, deadline=deadline)]
            return last[0] if last[0].succeeded else None

        what = f"never succeeded: {abbreviate(words)}"
        with self._judged(what, lambda: last[0].output if last else "no answer"):
            return poll(look, deadline, interval=0.5).stdout

    @contextmanager
    def _judged(self, what: str, seen: Callable[[], str]) -> Iterator[None]:
        """Hold a guest that answers, but not as awaited, responsible."""
        try:
            yield
        except DeadlineExpired as error:
            raise GuestFailure(
                f"{self.name}: {what}",
                seen=seen() or error.seen,
                evidence=[error.summary, *self.console.tail(10)],
            ) from error
