"""The frozen models of `results.json`, a public format (`"schema": 1`).

Within a schema version fields may be added, never removed or given another meaning.
`results.schema.json` in this directory is exported from here; a test compares them.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.criteria import DECIDING, ControlVerdict, RanOutcome, Verdict
from harness.errors import InputError, Mistake
from harness.evidence import Check, Relation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ResultModel(BaseModel):
    """Frozen, and strict about keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class RunSummary(ResultModel):
    """Where a run's results come from."""

    id: str
    started: str
    """UTC, ISO 8601."""
    duration_s: float
    commit: str = ""
    """Git commit of the harness, with `+changes` when files differed from it."""
    guest: str = ""
    """`reference`, or the path of the guest image given."""
    accel: str = ""
    accel_reason: str = ""
    """Why this accelerator was chosen."""
    qemu: str = ""
    speed_factor: float = 1.0
    """How much more patient deadlines were than on a computer with KVM."""
    spec_digest: str = ""
    images: dict[str, str] = {}
    """Name and digest of every base image used."""
    scaled: tuple[str, ...] = ()
    """What was scaled down against the spec, one sentence each."""
    full: bool = False
    """Whether every suite was selected; only then the five decide the exit status."""
    selection: str = ""
    """The paths and expressions that selected the tests."""
    interrupted: bool = False
    fault: str = ""
    """The fault this run was made under, if any."""
    unrun: tuple[str, ...] = ()
    """Tests that were selected and never got their turn."""
    uncollected: tuple[str, ...] = ()
    """Files whose tests could not even be listed, and why."""


class CriterionResult(ResultModel):
    """One row of the register."""

    id: str
    title: str = ""
    decides: bool = False
    """Whether the exit status of a full run rests on it."""
    verdict: Verdict
    reason: str
    duration_s: float = 0.0
    tests: tuple[str, ...] = ()
    """Node ids of the tests that were to judge it."""
    evidence: tuple[str, ...] = ()
    """Paths relative to this file."""


class CheckResult(ResultModel):
    """One named check of a test: a relation between two facts decides it."""

    name: str
    ok: bool
    reason: str = ""
    """What was expected and what was seen, in words that are true in either case."""
    at: float = 0.0
    """Seconds since the test began."""
    required: bool = False
    """Whether the test ends where it does not hold, with nothing judged after it."""
    of: str = ""
    """What was looked at, such as `boot ID`."""
    during: str = ""
    """The event at which it was looked at."""
    relation: Relation | None = None
    """How `seen` has to stand to `expected`; null in reports of older versions."""
    expected: Any = None
    expected_unit: str = ""
    budget: str = ""
    """The entry of [budgets] that `expected` is."""
    seen: Any = None
    unit: str = ""
    facts: dict[str, Any] = {}
    """Further facts that help to read it, by name."""

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
    outcome: RanOutcome
    reason: str = ""
    duration_s: float = 0.0
    criteria: tuple[str, ...] = ()
    stage: str | None = None
    worker: str = ""
    checks: tuple[CheckResult, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    """Paths relative to this file."""
    machines: tuple[str, ...] = ()
    """Directories of the machines it used, relative to this file."""


class ControlResult(ResultModel):
    """One known-bad (or harmless) variant of the system, judged by the same suites."""

    id: str
    title: str = ""
    expects: tuple[str, ...]
    failed: tuple[str, ...]
    verdict: ControlVerdict
    """`quiet` and `noisy` are for harmless variants: nothing failed, something did."""
    collateral: tuple[str, ...] = ()
    check: str = ""
    """Name of the check that failed."""
    reason: str = ""


class Spread(ResultModel):
    """A measured distribution."""

    p50: float
    p95: float
    n: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take median and 95th percentile of at least one value, interpolated."""
        pair = [*values, *values] if len(values) == 1 else values  # it needs two
        cuts = statistics.quantiles(pair, n=20, method="inclusive")
        return cls(p50=round(cuts[9], 3), p95=round(cuts[18], 3), n=len(values))


class Timings(ResultModel):
    """How fast the instrument was; null where this run did not measure it."""

    cold_boot_s: float | None = None
    restore_s: Spread | None = None
    exec_ms: Spread | None = None


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
    def satisfied(self) -> bool:
        """Whether nothing went wrong and, in a full run, all that decide passed."""
        spoiled = any(test.outcome.bad for test in self.tests)
        undecided = any(self.verdict(c) is not Verdict.PASS for c in DECIDING)
        return not (spoiled or self.run.uncollected or (self.run.full and undecided))


def dump(results: Results) -> str:
    """Render `results.json`."""
    data = results.model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def load(path: Path) -> Results:
    """Read `results.json`. Raises InputError with every mistake."""
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        mistakes = [
            Mistake(str(path), ".".join(map(str, e["loc"])), "", e["msg"])
            for e in error.errors()
        ]
        raise InputError(f"{path} is no results file", mistakes) from error


def json_schema() -> dict[str, Any]:
    """Export the format as JSON Schema."""
    schema = Results.model_json_schema(by_alias=True, mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Results of an acceptance run"
    return schema
