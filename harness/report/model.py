"""The frozen models of `results.json`, a public format (`"schema": 1`).

Within a schema version fields may be added, never removed or given another meaning.
`results.schema.json` in this directory is exported from here; a test compares them.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.criteria import DECIDING, ControlVerdict, Outcome, RanOutcome, Verdict
from harness.errors import InputError, Mistake
from harness.evidence import Check, Relation
from harness.exits import Exit
from harness.files import read_input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


RESULTS = "results.json"
"""The file of a report that programs read."""


class ResultModel(BaseModel):
    """The base of all parts: frozen, and strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class HostFacts(ResultModel):
    """The computer that ran it, and how busy it was."""

    cpus: int
    """Logical CPUs."""
    memory_mib: int
    """Memory, MiB."""
    memory_available_mib: int
    """Memory available at the beginning, MiB."""
    load_start: float
    """Load average of one minute at the beginning."""
    load_end: float
    """Load average of one minute at the end."""
    steal_share: float
    """Share of CPU time that a hypervisor below gave to others, 0 to 1."""


class RunSummary(ResultModel):
    """Where a run's results come from."""

    id: str
    """The report's directory, such as `20261125T101500Z-3f2a`."""
    started: str
    """UTC, ISO 8601."""
    duration_s: float
    """Wall-clock time of the whole run, seconds."""
    commit: str = ""
    """Git commit of the harness, with `+changes` when files differed from it."""
    guest: str = ""
    """`reference`, or the path of the guest image given."""
    accel: str = ""
    """`kvm` or `tcg`."""
    accel_reason: str = ""
    """Why this accelerator was chosen."""
    qemu: str = ""
    """QEMU's version."""
    host: HostFacts | None = None
    """The computer, and its load; null in older reports."""
    speed_factor: float = 1.0
    """The factor of all deadlines: 1 under KVM, more under TCG."""
    spec_digest: str = ""
    """SHA-256 of the fleet, defaults included."""
    images: dict[str, str] = {}
    """Name and digest of every base image used."""
    scaled: tuple[str, ...] = ()
    """What was scaled down against the spec, one sentence each."""
    full: bool = False
    """Whether every suite was selected; only then the five decide the exit status."""
    selection: str = ""
    """The paths and expressions that selected the tests."""
    asked: tuple[str, ...] = ()
    """Ids of the criteria that were asked for by name."""
    verdict: str = ""
    """The word of the last line, such as `pass`; empty in older reports."""
    status: int | None = None
    """The exit status; null in older reports."""
    interrupted: bool = False
    """Whether the run was interrupted."""
    fault: str = ""
    """The fault that was injected, if any."""
    unrun: tuple[str, ...] = ()
    """Tests that were selected and did not run."""
    uncollected: tuple[str, ...] = ()
    """Files whose tests could not be collected, and why."""


class CriterionResult(ResultModel):
    """One row of the register."""

    id: str
    """Its id in the register."""
    title: str = ""
    """The promise."""
    decides: bool = False
    """Whether it is required: it decides the exit status of a full run."""
    verdict: Verdict
    """`pass`, `fail`, `broken`, `partial` or `not-run`."""
    reason: str
    """The failed check and its facts, or why nothing was judged."""
    duration_s: float = 0.0
    """Sum of its tests, seconds."""
    tests: tuple[str, ...] = ()
    """Node ids of its tests that were collected."""
    missing: tuple[str, ...] = ()
    """Node ids of tests that decide it and did not run."""
    evidence: tuple[str, ...] = ()
    """Paths relative to this file."""


class CheckResult(ResultModel):
    """One named check of a test: a relation between two facts decides it."""

    name: str
    """The fact that it states."""
    ok: bool
    """Whether it held."""
    reason: str = ""
    """What was expected and what was seen, in words that are true in either case."""
    at: float = 0.0
    """Seconds since the test began."""
    required: bool = False
    """Whether the test ends where it does not hold."""
    of: str = ""
    """What `seen` and `expected` are, such as `boot ID`."""
    during: str = ""
    """The event at which it was seen."""
    relation: Relation | None = None
    """The required relation of `seen` to `expected`; null in older reports."""
    expected: Any = None
    """The expected value."""
    expected_unit: str = ""
    """Its unit."""
    budget: str = ""
    """The entry of [budgets] that `expected` is."""
    seen: Any = None
    """The observed value."""
    unit: str = ""
    """Its unit."""
    facts: dict[str, Any] = {}
    """Further facts, by name."""

    @property
    def check(self) -> Check | None:
        """The check, which knows its words; None in reports of older versions."""
        if self.relation is None:
            return None
        return Check.read(self.model_dump())


class TestResult(ResultModel):
    """One test."""

    __test__ = False

    nodeid: str
    """pytest's node id."""
    title: str = ""
    """First line of its docstring."""
    started: float | None = None
    """When it began, seconds since 1970; null in older reports."""
    load: float | None = None
    """Load average of one minute at its end."""
    steal_share: float | None = None
    """Share of CPU time that a hypervisor gave to others meanwhile, 0 to 1."""
    outcome: RanOutcome
    """`passed`, `failed`, `broken` or `skipped`."""
    reason: str = ""
    """Why it did not pass."""
    duration_s: float = 0.0
    """Setup, call and teardown, seconds."""
    criteria: tuple[str, ...] = ()
    """Ids of the criteria that it judges."""
    stage: str | None = None
    """The stage of its machine."""
    worker: str = ""
    """The xdist worker that ran it."""
    checks: tuple[CheckResult, ...] = ()
    """Its checks, in the order in which they were made."""
    notes: tuple[str, ...] = ()
    """Sentences for the reader."""
    evidence: tuple[str, ...] = ()
    """Paths relative to this file."""
    machines: tuple[str, ...] = ()
    """Directories of the machines it used, relative to this file."""


class ControlResult(ResultModel):
    """One known-bad (or harmless) variant of the system, judged by the same suites."""

    id: str
    """The fault's name."""
    title: str = ""
    """Its story."""
    expects: tuple[str, ...]
    """Ids of the criteria that must fail; empty for a benign variant."""
    failed: tuple[str, ...]
    """Ids of the criteria that failed."""
    verdict: ControlVerdict
    """`caught`, `missed` or `broken`; `quiet` or `noisy` for a benign variant."""
    collateral: tuple[str, ...] = ()
    """Unexpected criteria that failed and that the fault does not explain."""
    check: str = ""
    """Name of the check that failed."""
    reason: str = ""
    """Why the fault was not caught."""

    @property
    def ruling(self) -> Exit:
        """The exit status that it asks for."""
        if self.verdict is ControlVerdict.BROKEN:
            return Exit.BROKEN
        good = self.verdict in {ControlVerdict.CAUGHT, ControlVerdict.QUIET}
        return Exit.PASS if good and not self.collateral else Exit.FAIL


class Spread(ResultModel):
    """A measured distribution."""

    p50: float
    """The median."""
    p95: float
    """The 95th percentile, interpolated."""
    n: int = 0
    """Number of values."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take median and 95th percentile of at least one value, interpolated."""
        pair = [*values, *values] if len(values) == 1 else values  # it needs two
        cuts = statistics.quantiles(pair, n=20, method="inclusive")
        return cls(p50=round(cuts[9], 3), p95=round(cuts[18], 3), n=len(values))


class Timings(ResultModel):
    """How fast the instrument was; null where this run did not measure it."""

    cold_boot_s: float | None = None
    """From QEMU's start to the first answer of the guest, seconds."""
    restore_s: Spread | None = None
    """From the start of a restore until the test has its machine, seconds."""
    exec_ms: Spread | None = None
    """One command in the guest, milliseconds."""


class Results(ResultModel):
    """The whole file."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: RunSummary
    criteria: tuple[CriterionResult, ...]
    tests: tuple[TestResult, ...]
    controls: tuple[ControlResult, ...] = ()
    timings: Timings = Timings()

    def verdict(self, criterion: str) -> Verdict:
        """Give the verdict of one criterion by id."""
        return next(c.verdict for c in self.criteria if c.id == criterion)

    @property
    def conclusion(self) -> Exit:
        """Give the exit status that tests, criteria and controls add up to."""
        outcomes = {test.outcome for test in self.tests}
        rulings = {control.ruling for control in self.controls}
        if Outcome.FAILED in outcomes or Exit.FAIL in rulings:
            return Exit.FAIL
        if Outcome.BROKEN in outcomes or Exit.BROKEN in rulings or self.run.uncollected:
            return Exit.BROKEN
        asked = DECIDING if self.run.full else self.run.asked or self._touched
        decided = all(self.verdict(c) is Verdict.PASS for c in asked)
        if Outcome.PASSED in outcomes and decided and not self.run.unrun:
            return Exit.PASS
        return Exit.UNDECIDED

    @property
    def _touched(self) -> tuple[str, ...]:
        """The criteria of all tests that had their turn."""
        return tuple({c for test in self.tests for c in test.criteria})


def dump(results: Results) -> str:
    """Render `results.json`."""
    data = results.model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


_SHOWN = 20  # mistakes that one message lists
LARGEST = 512 << 20  # bytes; a full run has some MiB


def load(path: Path) -> Results:
    """Read `results.json`. Raises InputError with every mistake."""
    try:
        return Results.model_validate_json(read_input(path, LARGEST))
    except ValidationError as error:
        mistakes = [
            Mistake(str(path), ".".join(map(str, e["loc"])), "", e["msg"])
            for e in error.errors()
        ]
        more = f"; {len(mistakes) - _SHOWN} more" if mistakes[_SHOWN:] else ""
        text = f"{path} is no results file{more}"
        raise InputError(text, mistakes[:_SHOWN]) from error


def json_schema() -> dict[str, Any]:
    """Export the format as JSON Schema."""
    schema = Results.model_json_schema(by_alias=True, mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Results of an acceptance run"
    return schema
