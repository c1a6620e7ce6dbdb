"""Follow the tests of the suites: outcomes, evidence, budgets, into the journal.

Lives in every process that runs tests. The controller's half is in `controller.py`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from harness.criteria import Outcome
from harness.errors import CheckFailed, GuestPanicked, HarnessError, InputError
from harness.evidence import Recorder, redact_text, slug
from harness.plugin import budget
from harness.plugin.blame import site_blamed
from harness.plugin.causes import Causes, same_cause
from harness.plugin.lost import LostLines, Refusals
from harness.plugin.markers import (
    marked_adopted,
    marked_thorough,
    misuse,
    of_a_suite,
    optional,
    subject_of,
)
from harness.plugin.needs import Needs
from harness.plugin.options import distributed, is_worker
from harness.plugin.outcome import Phase, classify, combine, explain
from harness.plugin.run import (
    CURRENT,
    EMULATED,
    IMAGE,
    RUN,
    WORKER_INPUT,
    Current,
    open_run,
)
from harness.report import computer
from harness.report.journal import Collected, CollectFailed, Finished, Started
from harness.signals import end_with, interrupting

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from harness.plugin.options import Settings
    from harness.plugin.places import SuitePlaces
    from harness.plugin.run import Run
    from harness.report.journal import Event

_NO_TRACE = (CheckFailed, InputError)  # what they say is all there is to know
PHASES = pytest.StashKey[list[Phase]]()
NAME = pytest.StashKey[str]()  # fit for files; only tests of suites have one


def register(config: pytest.Config, settings: Settings) -> None:
    """Register what this process needs: tests, terminal and report, or both."""
    run = open_run(config, settings)
    config.stash[RUN] = run
    config.pluginmanager.register(LostLines(run), "acceptance-lost-lines")
    config.pluginmanager.register(Refusals(config), "acceptance-refusals")
    if is_worker(config):
        config.pluginmanager.register(Worker(config), "acceptance-worker")
    if not distributed(config):
        config.pluginmanager.register(Tests(run, settings), "acceptance-tests")
        config.pluginmanager.register(Needs(settings), "acceptance-needs")
    if not is_worker(config):
        from harness.plugin.controller import Controller  # noqa: PLC0415 - heavy

        config.pluginmanager.register(
            Controller(config, run, settings), "acceptance-controller"
        )


class Worker:
    """An xdist worker, which does not outlive its controller.

    execnet lets it run on for 5 to 15 s, and needs a SIGINT that is not ignored.
    """

    def __init__(self, config: pytest.Config) -> None:
        end_with(config.workerinput[WORKER_INPUT]["controller"])  # type: ignore[attr-defined]
        self.signals = ExitStack()
        config.add_cleanup(self.signals.close)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Unwind at the controller's SIGTERM as at a terminal's Ctrl-C.

        To the end of the session, for a terminal's Ctrl-C brings both: the second must
        not kill what the first one has begun to take down.
        """
        self.signals.enter_context(interrupting())
        return (yield)


class Tests:
    """Hooks around collecting and running the tests of the suites."""

    def __init__(self, run: Run, settings: Settings) -> None:
        self.run = run
        self.settings = settings
        self.seen: dict[str, Collected] = {}
        self.uncollected: list[CollectFailed] = []
        self.causes = Causes(run.journal.directory / "causes")

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember files whose tests could not be listed."""
        if report.failed:
            last = report.longreprtext.strip().splitlines()[-1:]
            reason = last[0].removeprefix("E").strip() if last else "failed"
            self.uncollected.append(CollectFailed(text=f"{report.nodeid}: {reason}"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Take up the tests of suites; raises UsageError for misused markers."""
        ours = [item for item in items if of_a_suite(item, self.settings.suites)]
        if faults := misuse(ours):
            if not is_worker(config):
                raise pytest.UsageError("\n".join(faults))
            # What a worker raises here is lost, so it is told by the journal.
            self.uncollected += [CollectFailed(text=fault) for fault in faults]
            ours = items[:] = []
        elif self.settings.selected:
            ours = self._select(config, items, ours)
        taken: set[str] = set()
        for item in ours:
            item.stash[NAME] = _name(item, self.settings.suites, taken)
            budget.take_over(item)
            subject = subject_of(item)
            self.seen[item.nodeid] = Collected(
                nodeid=item.nodeid,
                title=_title(item),
                criteria=subject.criteria,
                stage=subject.stage,
                optional=optional(item),
            )
        if not self.settings.thorough:
            _leave_out(config, items, [i for i in ours if marked_thorough(i)])
        if not self.settings.units:
            _leave_out(config, items, [i for i in ours if marked_adopted(i)])

    def _select(
        self, config: pytest.Config, items: list[pytest.Item], ours: list[pytest.Item]
    ) -> list[pytest.Item]:
        """Leave out what `--criterion` and the like do not select; return the rest.

        What is left out is not reported, as if its file had not been named.
        """
        selected = self.settings.selected
        if faults := selected.unmatched([subject_of(item) for item in ours]):
            text = "\n".join(faults)
            if not is_worker(config):
                raise pytest.UsageError(text)
            self.uncollected.append(CollectFailed(text=text))
        chosen = [item for item in ours if selected.includes(subject_of(item))]
        _leave_out(config, items, [item for item in items if item not in chosen])
        return chosen

    @pytest.hookimpl
    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember what -k, -m and --deselect left out."""
        for item in items:
            if found := self.seen.get(item.nodeid):
                self.seen[item.nodeid] = found.model_copy(update={"selected": False})

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Open the report, if there is anything to report on."""
        if session.config.option.collectonly:
            return
        events: list[Event] = [*self.seen.values(), *self.uncollected]
        if events:
            events.insert(0, self.run.opening(self.settings))
        for event in events:
            self.run.journal.write(event)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run a test, and write down how it ended once all is torn down.

        One that a kernel panic of the emulator ended is run again: nothing was judged,
        and a panic that the guest causes comes again.
        """
        if NAME not in item.stash:
            return None
        told = {"nodeid": item.nodeid, "location": item.location}
        item.ihook.pytest_runtest_logstart(**told)
        began, before = time.monotonic(), computer.look()
        # An interrupt leaves here without a `Finished`, as a crash would.
        reports = self._attempt(item, nextitem, item.stash[NAME])
        if _ended_by_the_emulator(item):
            first, again = item.stash[NAME], f"{item.stash[NAME]}-again"
            self.run.step(f"{item.nodeid}: kernel panic under TCG, running again")
            note = f"run again: the kernel panicked under TCG, see evidence/{first}"
            reports = self._attempt(item, nextitem, again, note)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        phases = item.stash[PHASES]
        whole = combine(phases)
        self.run.journal.write(
            Finished(
                nodeid=item.nodeid,
                outcome=whole.ended,
                reason=redact_text(whole.reason),
                duration_s=round(time.monotonic() - began, 3),
                load=computer.look().load,
                steal_share=computer.steal_between(before, computer.look()),
            )
        )
        item.ihook.pytest_runtest_logfinish(**told)
        return True

    def _attempt(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        name: str,
        note: str = "",
    ) -> list[pytest.TestReport]:
        """Set up, call and tear down, with evidence of its own."""
        recorder = Recorder(item.nodeid, self.run.directory / "evidence" / name)
        if note:
            recorder.note(note)
        item.stash[CURRENT] = Current(item.nodeid, name, recorder, self.run)
        phases: list[Phase] = []
        item.stash[PHASES] = phases
        self.run.journal.write(Started(nodeid=item.nodeid, evidence=f"evidence/{name}"))
        return runtestprotocol(item, log=False, nextitem=nextitem)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Fence in the setup, which may build images and stages."""
        seconds = budget.SETUP_S if NAME in item.stash else 0.0
        with site_blamed(item), budget.budget(item, seconds):
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Fence in the test's body; at its end let soft checks speak."""
        __tracebackhide__ = True
        if NAME not in item.stash:
            yield
            return
        recorder = item.stash[CURRENT].recorder
        with site_blamed(item):
            try:
                with budget.budget(item, budget.call_budget(item)):
                    yield
            except CheckFailed:
                raise
            except BaseException as error:
                if recorder.failures:
                    error.add_note(f"before that: {CheckFailed(recorder.failures)}")
                raise
            recorder.conclude()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Fence in the teardown."""
        seconds = budget.TEARDOWN_S * item.config.stash.get(budget.PATIENCE, 1.0)
        with budget.budget(item, seconds if NAME in item.stash else 0.0):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Separate the subject's failures from the instrument's."""
        report = yield
        if NAME in item.stash:
            error = call.excinfo.value if call.excinfo else None
            if isinstance(error, _NO_TRACE):
                report.longrepr = str(error)
            phase = _believed(item, _phase(report, call))
            phase = self._folded(item, report, call, phase)
            item.stash[PHASES].append(phase)
            # Travels to the controller with the report, by execnet: as a plain string.
            report.acceptance = phase.ended.value  # type: ignore[attr-defined]
        return report

    def _folded(
        self,
        item: pytest.Item,
        report: pytest.TestReport,
        call: pytest.CallInfo[None],
        phase: Phase,
    ) -> Phase:
        """Name the test that the same cause broke before, in place of all its words."""
        before = any(each.ended is not Outcome.PASSED for each in item.stash[PHASES])
        if phase.ended is not Outcome.BROKEN or call.excinfo is None or before:
            return phase
        error = call.excinfo.value
        first = self.causes.first(error, item.nodeid)
        if first == item.nodeid:
            return phase
        reason = same_cause(first, error)
        report.longrepr = reason
        report.acceptance_folded = True  # type: ignore[attr-defined]
        return replace(phase, reason=reason)


def _phase(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Phase:
    if report.passed:
        return Phase(report.when, Outcome.PASSED)
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return Phase(
                report.when, Outcome.SKIPPED, f"expected to fail: {report.wasxfail}"
            )
        return Phase(report.when, Outcome.SKIPPED, _skip_reason(report))
    if call.excinfo is None:  # strict xfail that passed
        return Phase(report.when, Outcome.FAILED, report.longreprtext)
    error = call.excinfo.value
    panic = isinstance(error, GuestPanicked)
    return Phase(report.when, classify(error), explain(error), panic)


def _believed(item: pytest.Item, phase: Phase) -> Phase:
    """Check what the test's machines were made from, before a failure is believed.

    Damaged, it says nothing about the guest: the test is broken.
    """
    image = item.config.stash.get(IMAGE, None)
    if phase.ended is not Outcome.FAILED or image is None:
        return phase
    from harness.stage import demand_whole  # noqa: PLC0415 - only after a failure

    try:
        for saved in item.stash[CURRENT].saved:
            demand_whole(saved, image, fresh=True)
    except HarnessError as error:
        reason = f"{explain(error)}\nseen before that: {phase.reason}"
        return replace(phase, ended=Outcome.BROKEN, reason=reason)
    return phase


def _ended_by_the_emulator(item: pytest.Item) -> bool:
    """Whether a kernel panic is all that is known of a test, and TCG may be its cause.

    Emulated kernels panic about once in 130 boots, a race in QEMU that patched code
    brings about (docs/explanation/machine.md).
    """
    emulated = item.config.stash.get(EMULATED, False)
    errors = [
        phase for phase in item.stash[PHASES] if phase.ended is not Outcome.PASSED
    ]
    judged = item.stash[CURRENT].recorder.failures
    return emulated and bool(errors) and errors[0].panic and not judged


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext


def _title(item: pytest.Item) -> str:
    """Return the first line of a test's docstring."""
    text: str = getattr(getattr(item, "obj", None), "__doc__", None) or ""
    return text.strip().partition("\n")[0]


def _name(item: pytest.Item, suites: SuitePlaces, taken: set[str]) -> str:
    file, _, rest = item.nodeid.partition("::")
    path = suites.below(item.path) or Path(file)
    parts = [*path.with_suffix("").parts, *rest.split("::")]
    name = slug(".".join(part.removeprefix("test_") for part in parts))
    if name in taken:
        name = f"{name}-{sha256(item.nodeid.encode()).hexdigest()[:8]}"
    taken.add(name)
    return name


def _leave_out(
    config: pytest.Config, items: list[pytest.Item], left_out: list[pytest.Item]
) -> None:
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
