"""Lines of the journal that the disk did not take: carried from workers by xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.plugin.options import is_worker
from harness.report.journal import packed, unpacked

if TYPE_CHECKING:
    from xdist.workermanage import (  # type: ignore[import-untyped]
        WorkerController,
    )

    from harness.plugin.run import Run

_OUTPUT = "acceptance_lost"


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
