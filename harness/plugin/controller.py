"""The half of the session plugin that owns terminal, report and exit status."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from harness import report  # noqa: TC001 - pluggy reads annotations
from harness.criteria import Outcome
from harness.exits import Exit
from harness.plugin import table
from harness.plugin.census import census
from harness.plugin.closing import close, rescue
from harness.plugin.ending import ENDED, ENDED_BY, SIGNALS, Conclusion, status_of
from harness.plugin.live import JournalDisplay, Tally, terminal
from harness.plugin.options import distributed
from harness.plugin.run import WORKER_INPUT
from harness.report import abandoned, computer, summary, verdicts
from harness.report.holding import held
from harness.signals import Interrupted, ignoring, interrupting

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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
        self.held = ExitStack()
        config.add_cleanup(self.held.close)
        # Until the last line is printed, so that a third Ctrl-C cannot lose it.
        self.signals = config.stash[SIGNALS] = ExitStack()
        self.signals.enter_context(interrupting())
        self.await_census: Callable[[], None] | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Fold the reports of runs that were killed, before this run has one."""
        if session.config.option.collectonly:
            return
        for line in abandoned.sweep(self.settings.reports):
            with suppress(OSError):
                print(line, file=self.out, flush=True)
        self.held.enter_context(held(self.run.journal.directory))

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

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Begin the census when the first worker has listed its tests."""
        self._count()

    def _count(self) -> None:
        if self.run.opened and not self.settings.listed and self.await_census is None:
            journals = self.run.journal.directory
            listing = census(self.config, self.settings, journals)
            self.await_census = self.stack.enter_context(listing)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(
        self, session: pytest.Session
    ) -> Generator[None, object, object]:
        """Show what happens while tests run."""
        if not session.config.option.collectonly:
            verdicts.begin(self.settings.reports, self.run.directory)
            self._count()
        if self.run.opened:
            self._mute()
        # xdist has a specification for each worker.
        workers = len(self.config.getoption("tx", None) or ["this process"])
        live = JournalDisplay(
            self.run.journal.directory,
            self.out,
            outcomes=not self.wordy,
            tally=Tally(self.settings.reports, workers),
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
            self.config.stash[ENDED_BY] = excinfo.value.number
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

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None]:
        """Write the report and decide the exit status; no signal cuts that short.

        A second Ctrl-C ends what is still being taken down, not the report.
        """
        try:
            yield
        except KeyboardInterrupt:
            self.ended_by = self.ended_by or signal.SIGINT
        # A function, for children would inherit that a signal is ignored.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        self.signals.callback(signal.signal, signal.SIGINT, before)
        self.signals.enter_context(ignoring())
        self._close(session, exitstatus)

    def _close(self, session: pytest.Session, exitstatus: int) -> None:
        if self.await_census and not self.ended_by:
            self.await_census()
        self.stack.close()
        if not self.run.opened:
            return

        def status(results: report.Results) -> tuple[str, int]:
            partial = self.settings.allow_partial
            return status_of(
                results, exitstatus, signal=self.ended_by, allow_partial=partial
            )

        self.results = close(
            self.run,
            self.settings,
            duration_s=time.monotonic() - self.began,
            interrupted=self.ended_by is not None
            or exitstatus == pytest.ExitCode.INTERRUPTED,
            host=computer.between(self.host, computer.look()),
            status=status,
        )
        self.unsaid = summary.append(summary.render(self.results), os.environ)
        word, code = status(self.results)
        if self.run.problems and code == Exit.PASS:
            word, code = Exit.ERROR.word, Exit.ERROR  # no whole report of the pass
        self.config.stash[ENDED] = Conclusion(word, code, self.run.directory)
        session.exitstatus = code

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print the table of criteria, between pytest's errors and its summary."""
        if self.results is None:
            return
        for each in itertools.chain.from_iterable(terminalreporter.stats.values()):
            _shorten(each)
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


def _shorten(report: object) -> None:
    """Leave one line of an error that was printed: a CI's summary repeats it whole."""
    words = getattr(report, "longrepr", None)
    crash = getattr(words, "reprcrash", None)
    if isinstance(words, str):
        report.longrepr = words.partition("\n")[0]  # type: ignore[attr-defined]
    elif crash is not None:
        crash.message = crash.message.partition("\n")[0]
