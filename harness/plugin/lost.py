"""What xdist would lose of a worker: lines of the journal, errors of the usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.plugin.options import is_worker
from harness.report.journal import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.workermanage import (  # type: ignore[import-untyped]
        WorkerController,
    )

    from harness.plugin.run import Run

_OUTPUT = "acceptance_lost"
_REFUSED = "acceptance_refused"


class LostLines:
    """Sends them, in a worker; takes them, in the controller."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Put what this worker could not write where xdist takes it along."""
        if is_worker(session.config):
            output = session.config.workeroutput  # type: ignore[attr-defined]
            output[_OUTPUT] = packed(self.run.journal.lost)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Take what a worker that ended in order could not write."""
        output = getattr(node, "workeroutput", None) or {}
        self.run.journal.lost += unpacked(output.get(_OUTPUT, ()))


class Refusals:
    """A path or a test that is not there, which only a worker sees."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.said: set[str] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Put a worker's error where xdist takes it along."""
        try:
            return (yield)
        except pytest.UsageError as error:
            if is_worker(self.config):
                text = "\n".join(map(str, error.args))
                self.config.workeroutput[_REFUSED] = text  # type: ignore[attr-defined]
            raise

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Take the error of a worker."""
        output = getattr(node, "workeroutput", None) or {}
        self.said |= {output[_REFUSED]} if _REFUSED in output else set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Raise it as UsageError, as without workers, when all else is done."""
        yield
        if self.said:
            raise pytest.UsageError("\n".join(sorted(self.said)))
