"""Fold a run's journals and evidence into results; pure, but for reading evidence."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.criteria import (
    REGISTER,
    Decision,
    Judged,
    Outcome,
    Verdict,
    deciding,
    judge,
    left_out,
)
from harness.evidence import RECORD
from harness.files import reason
from harness.report.journal import (
    Collected,
    CollectFailed,
    Event,
    Fact,
    Finished,
    KnownTests,
    MachineUsed,
    Opened,
    Started,
    Timing,
)
from harness.report.model import (
    CheckResult,
    CriterionResult,
    Results,
    RunSummary,
    Spread,
    TestResult,
    Timings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.criteria import Criterion

_TELLING = (Outcome.FAILED, Outcome.BROKEN, Outcome.PASSED, Outcome.SKIPPED)


@dataclass
class TestStory:
    """The events of one test in the journals."""

    __test__ = False

    nodeid: str
    collected: Collected | None = None
    started: Started | None = None
    finished: Finished | None = None
    machines: list[MachineUsed] = field(default_factory=list)


@dataclass
class Ledger:
    """The events in the journals of all processes, folded."""

    stories: dict[str, TestStory] = field(default_factory=dict)
    uncollected: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    opened: Opened | None = None
    census: KnownTests | None = None

    def story(self, nodeid: str) -> TestStory:
        """Give the story of a test, begun at its first mention."""
        return self.stories.setdefault(nodeid, TestStory(nodeid))

    def take(self, event: Event) -> None:
        """Add one event; the first word of several processes about one thing wins."""
        match event:
            case Collected(nodeid=nodeid):
                story = self.story(nodeid)
                story.collected = story.collected or event
            case Started(nodeid=nodeid):
                self.story(nodeid).started = event
            case MachineUsed(nodeid=nodeid):
                self.story(nodeid).machines.append(event)
            case Finished(nodeid=nodeid):
                self.story(nodeid).finished = event
            case Fact(name=name, value=value):
                self.facts.setdefault(name, value)
            case Timing(name=name, seconds=seconds):
                self.timings[name].append(seconds)
            case Opened() | KnownTests() | CollectFailed():
                self._take_list(event)
            case _:
                pass

    def _take_list(self, event: Opened | KnownTests | CollectFailed) -> None:
        """Add what says which tests there are, and which could not be listed."""
        match event:
            case Opened():
                self.opened = self.opened or event
            case KnownTests():
                self.census = self.census or event
            case CollectFailed(text=text) if text not in self.uncollected:
                self.uncollected.append(text)
            case _:
                pass

    @property
    def unlisted(self) -> list[str]:
        """Name what keeps the tests of a criterion from being known, if anything."""
        files = [text.partition(": ")[0] for text in self.uncollected]
        if self.census:
            return [*files, *self.census.unlisted]
        unknown = self.opened is not None and not self.opened.listed
        return [*files, *(["tests that could not be listed"] if unknown else [])]

    def tests_of(self, criterion: str) -> dict[str, bool]:
        """Give all tests of a criterion; whether each was collected."""
        known = {
            test.nodeid: False
            for test in (self.census.tests if self.census else ())
            if criterion in test.criteria
        }
        return known | {
            story.nodeid: True
            for story in self.stories.values()
            if story.collected and criterion in story.collected.criteria
        }

    def optional(self, nodeid: str) -> bool:
        """Whether a criterion passes without a test."""
        if (story := self.stories.get(nodeid)) and story.collected:
            return story.collected.optional
        tests = self.census.tests if self.census else ()
        return any(test.nodeid == nodeid and test.optional for test in tests)


def fold(events: Iterable[Event]) -> Ledger:
    """Fold events, in the order they happened."""
    ledger = Ledger()
    for event in events:
        ledger.take(event)
    return ledger


def results(ledger: Ledger, run: RunSummary, directory: Path) -> Results:
    """Build the results of a run whose report lies in `directory`."""
    stories = list(ledger.stories.values())
    tests = tuple(
        test_result(story, directory, interrupted=run.interrupted)
        for story in stories
        if story.started
    )
    judged = _judged(stories, tests)
    run = run.model_copy(
        update={
            "unrun": tuple(
                j.nodeid for j in judged.values() if j.outcome is Outcome.UNRUN
            ),
            "uncollected": tuple(ledger.uncollected),
        }
    )
    by_nodeid = {test.nodeid: test for test in tests}
    criteria = tuple(_row(c, ledger, judged, by_nodeid, run) for c in REGISTER)
    return Results(run=run, criteria=criteria, tests=tests, timings=_timings(ledger))


def summary(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the facts of a run say of it, as fields of its summary."""
    names = ("accel", "accel_reason", "qemu", "speed_factor", "spec_digest", "scaled")
    images = {k[6:]: str(v) for k, v in facts.items() if k.startswith("image:")}
    return {"images": images} | {n: facts[n] for n in names if n in facts}


def test_result(story: TestStory, directory: Path, *, interrupted: bool) -> TestResult:
    """Turn one test's story and the evidence on disk into its result."""
    assert story.started is not None  # noqa: S101 - the caller chose those
    evidence = story.started.evidence
    record = read_record(directory / evidence / RECORD)
    done = story.finished
    lost = "interrupted" if interrupted else "the process that ran it died"
    return TestResult(
        nodeid=story.nodeid,
        title=story.collected.title if story.collected else "",
        started=round(story.started.at, 3),
        load=done.load if done else None,
        steal_share=done.steal_share if done else None,
        outcome=done.outcome if done else Outcome.BROKEN,
        reason=done.reason if done else lost,
        duration_s=done.duration_s if done else 0.0,
        criteria=story.collected.criteria if story.collected else (),
        stage=story.collected.stage if story.collected else None,
        worker=story.started.worker,
        checks=tuple(CheckResult(**check) for check in record["checks"]),
        notes=tuple(record["notes"]),
        evidence=tuple(_files(directory, evidence)),
        machines=tuple(m.into for m in story.machines if (directory / m.into).is_dir()),
    )


def read_record(path: Path) -> dict[str, Any]:
    """Read what a recorder left, or the record of a test that recorded nothing."""
    empty: dict[str, Any] = {"checks": [], "notes": [], "attachments": [], "series": []}
    if not path.is_file():
        return empty
    try:
        recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a disk was full, or the power failed
        return empty | {"notes": [f"its record cannot be read: {reason(error)}"]}
    return empty | recorded


def _judged(
    stories: Iterable[TestStory], tests: Iterable[TestResult]
) -> dict[str, Judged]:
    judged = {t.nodeid: Judged(t.nodeid, t.outcome, t.reason) for t in tests}
    for story in stories:
        if story.nodeid not in judged:
            chosen = story.collected is not None and story.collected.selected
            outcome = Outcome.UNRUN if chosen else Outcome.DESELECTED
            judged[story.nodeid] = Judged(story.nodeid, outcome)
    return judged


def _row(
    criterion: Criterion,
    ledger: Ledger,
    outcomes: Mapping[str, Judged],
    tests: Mapping[str, TestResult],
    run: RunSummary,
) -> CriterionResult:
    known = ledger.tests_of(criterion.id)
    needed = deciding(
        Judged(n, Outcome.DESELECTED, optional=ledger.optional(n)) for n in known
    )
    judged = [
        replace(outcomes[n], optional=n not in needed)
        for n, collected in known.items()
        if collected
    ]
    missing = [n for n in needed if not known[n]]
    if judged:
        missing += ledger.unlisted
    ruling = judge(criterion, judged, full=run.full, missing=missing)
    if ruling.verdict is Verdict.NOT_RUN and not judged and run.uncollected:
        ruling = Decision(Verdict.NOT_RUN, "some tests could not be listed")
    ran = [tests[j.nodeid] for j in judged if j.nodeid in tests]
    # What decided comes first: the terminal has room for one path.
    telling = sorted(ran, key=lambda test: _TELLING.index(test.outcome))
    return CriterionResult(
        id=criterion.id,
        title=criterion.title,
        decides=criterion.decides,
        verdict=ruling.verdict,
        reason=ruling.reason,
        duration_s=round(sum(test.duration_s for test in ran), 3),
        tests=tuple(j.nodeid for j in judged),
        missing=tuple([j.nodeid for j in judged if left_out(j)] + missing),
        evidence=tuple(
            path for test in telling for path in (*test.evidence, *test.machines)
        ),
    )


def _files(directory: Path, evidence: str) -> list[str]:
    found = sorted((directory / evidence).rglob("*"))
    return [str(p.relative_to(directory)) for p in found if p.is_file()]


def _timings(ledger: Ledger) -> Timings:
    boots = ledger.timings.get("cold-boot")
    restores = ledger.timings.get("restore")
    calls = ledger.timings.get("exec")
    return Timings(
        cold_boot_s=round(sum(boots) / len(boots), 3) if boots else None,
        restore_s=Spread.of(restores) if restores else None,
        exec_ms=Spread.of([1000 * s for s in calls]) if calls else None,
    )
