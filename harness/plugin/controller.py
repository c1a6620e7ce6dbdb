"""The half of the session plugin that owns terminal, report and exit status."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from harness import report  # noqa: TC001 - pluggy reads annotations
from harness.criteria import Outcome
from harness.exits import Exit
from harness.plugin import table
from harness.plugin.closing import close, rescue
from harness.plugin.live import JournalDisplay, terminal
from harness.plugin.options import distributed
from harness.plugin.run import WORKER_INPUT
from harness.report import computer, summary
from harness.signals import Interrupted, ignoring, interrupting

if TYPE_CHECKING:
    import signal
    from collections.abc import Generator

    from xdist.workermanage import (  # type: ignore[import-untyped]
        WorkerController,
    )

    from harness.plugin.options import Settings
    from harness.plugin.run import Run

_WIDE = 120  # columns, where standard output is no terminal


class Controller:
    """Passes the run to workers, shows it live, folds it into a report."""

    def __init__(self, config: pytest.Config, run: Run, settings: Settings) -> None:
        self.config = config
        self.run = run
        self.settings = settings
        self.results: report.Results | None = None
        self.began = time.monotonic()
        self.host = computer.look()
        self.unsaid = ""
        # pytest's own words per test only where the user asked for them.
        self.wordy = config.get_verbosity() > 0
        self.stack = ExitStack()
        self.out = self.stack.enter_context(terminal())
        self.ended_by: signal.Signals | None = None
        self.signals = ExitStack()
        self.signals.enter_context(interrupting())
        config.add_cleanup(self.signals.close)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Pass an xdist worker the run it belongs to."""
        node.workerinput[WORKER_INPUT] = {
            "id": self.run.id,
            "dir": str(self.run.directory),
            "started": self.run.started,
            "controller": os.getpid(),
        }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, error: object) -> None:
        """Save what a worker that died leaves, before another takes its place."""
        if error is not None:
            rescue(self.run)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Show what happens while tests run."""
        if self.run.opened:
            self._mute()
        live = JournalDisplay(
            self.run.journal.directory, self.out, outcomes=not self.wordy
        )
        with live.follow():
            return (yield)

    @pytest.hookimpl
    def pytest_keyboard_interrupt(
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> None:
        """Have workers end in order too: only a terminal's Ctrl-C reaches them."""
        if isinstance(excinfo.value, Interrupted):
            self.ended_by = excinfo.value.number
        if distributed(self.config):
            for worker in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    worker.terminate()

    def _mute(self) -> None:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and not self.wordy:
            reporter.showfspath = False
            # No public switch says "no percentage" this late.
            reporter._show_progress_info = False  # noqa: SLF001

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """Count broken tests as errors; keep pytest's dots out of the live lines."""
        ended = getattr(report, "acceptance", None)
        if ended is None or hasattr(report, "wasxfail"):
            return None
        self._mute()
        if getattr(report, "acceptance_folded", False):
            return "same cause", "", ""  # counted, and not printed again
        if ended == Outcome.PASSED and report.when != "call":
            return "", "", ""
        if ended == Outcome.BROKEN:
            return "error", "B" if self.wordy else "", ("BROKEN", {"red": True})
        # Without a letter pytest prints nothing now, and the word in its summary.
        return None if self.wordy else (ended, "", ended.upper())

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report and decide the exit status; no signal cuts that short."""
        self.signals.close()
        self.signals.enter_context(ignoring())
        self.stack.close()
        if not self.run.opened:
            return
        self.results = close(
            self.run,
            self.settings,
            duration_s=time.monotonic() - self.began,
            interrupted=exitstatus == pytest.ExitCode.INTERRUPTED,
            host=computer.between(self.host, computer.look()),
        )
        self.unsaid = summary.append(summary.render(self.results), os.environ)
        session.exitstatus = exit_status(self.results, exitstatus)
        if self.run.problems and session.exitstatus == Exit.PASS:
            session.exitstatus = Exit.ERROR  # there is no whole report of the pass

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print the table of criteria."""
        if self.results is None:
            return
        terminalreporter.section("acceptance criteria")
        colour = terminalreporter.hasmarkup
        width = shutil.get_terminal_size().columns if colour else _WIDE
        text = table.render(
            self.results, self.run.directory, width=width, colour=colour
        )
        terminalreporter.write(text)
        for problem in self.run.problems:
            terminalreporter.write_line(f"harness: {problem}", red=True)
        if self.unsaid:
            terminalreporter.write_line(self.unsaid)


def exit_status(results: report.Results, exitstatus: int) -> int:
    """Give the exit status: a full run needs a pass of all five, any run of its tests.

    What pytest itself has to say (interrupted, usage, internal error) goes first.
    """
    if exitstatus != pytest.ExitCode.OK:
        return exitstatus
    if not results.satisfied:
        return pytest.ExitCode.TESTS_FAILED
    return exitstatus
