"""The run in words and stages: its sentence, the migration, names of tests."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.criteria import ControlVerdict, Outcome, StageName, Verdict, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.report.model import ControlResult, CriterionResult, Results, TestResult

CHECKOUT = "checkout"
_TEXTS: dict[str, tuple[str, str]] = {
    StageName.CLOUD: (
        "Cloud image",
        "Booted with its seed ISO on the temporary address; the old VM is unchanged.",
    ),
    StageName.NIXOS: (
        "Converted",
        "Converted in place and rebooted through its own boot loader.",
    ),
    StageName.ONBOARDED: (
        "Onboarded",
        "The host's configuration is applied, and lab has sessions.",
    ),
    StageName.SWAPPED: ("Swapped", "Moved to the final address; the old VM is off."),
    CHECKOUT: ("Checkout", "Files of the fleet's repository, without a machine."),
}
_PLACES: dict[str, str] = {
    "shell-lifecycle": StageName.CLOUD,
    "shell-options": StageName.CLOUD,
    "two-consumers": StageName.CLOUD,
    "parallel-on-temporary-ip": StageName.CLOUD,
    "onboard-infect": StageName.NIXOS,
    "swap-keeps-address": StageName.SWAPPED,
    "swap-retires-old": StageName.SWAPPED,
    "swap-rollback": StageName.SWAPPED,
    "ingress-auth": StageName.SWAPPED,
}
# Where a run is to be judged by one word, the worst one gives it.
_WORST = ("fail", "broken", "not-run", "partial")


@dataclass(frozen=True, slots=True)
class Chapter:
    """One stage of the migration, and the criteria that are decided there."""

    stage: str
    title: str
    text: str
    criteria: tuple[CriterionResult, ...]


def place_of(criterion: str) -> str:
    """Name the stage that a criterion is shown at."""
    if criterion.startswith("checkout-"):
        return CHECKOUT
    return _PLACES.get(criterion, StageName.ONBOARDED)


def chapters(results: Results) -> list[Chapter]:
    """Return the migration stage by stage, in its order; required criteria first."""
    rows = sorted(results.criteria, key=lambda row: not row.decides)
    return [
        Chapter(stage, *words, tuple(r for r in rows if place_of(r.id) == stage))
        for stage, words in _TEXTS.items()
    ]


def sentence_of(test: TestResult) -> str:
    """Name a test by a sentence: its docstring's, or one made of its name."""
    name, _, parameters = short(test.nodeid).partition("[")
    text = test.title.strip().removesuffix(".")
    if not text:
        words = name.removeprefix("test_").replace("_", " ").strip()
        text = words[:1].upper() + words[1:]
    variant = parameters.removesuffix("]")
    return f"{text} ({variant})" if variant else text


def headline(results: Results) -> tuple[str, str]:
    """Say in one sentence what a run decided, and the verdict whose colour it has."""
    if results.controls and not results.tests:
        return controls_sentence(results.controls), _controls_word(results.controls)
    text, word = _ruling(results)
    if results.run.fault:
        text = f"Under the fault {results.run.fault}: {text[:1].lower()}{text[1:]}"
    if results.controls:
        text = f"{text} {controls_sentence(results.controls)}"
        if word == "pass":
            word = _controls_word(results.controls)
    return text, word


def controls_sentence(controls: Sequence[ControlResult]) -> str:
    """Say how many faults were detected and how many harmless variants were quiet."""
    faults = [c for c in controls if c.expects]
    benign = [c for c in controls if not c.expects]
    caught = sum(c.verdict is ControlVerdict.CAUGHT for c in faults)
    quiet = sum(c.verdict is ControlVerdict.QUIET for c in benign)
    missed = sum(c.verdict is ControlVerdict.MISSED for c in faults)
    broken = sum(c.verdict is ControlVerdict.BROKEN for c in controls)
    parts = []
    if faults:
        parts.append(f"{caught} of {_count(len(faults), 'fault')} detected")
    if benign:
        variants = _count(len(benign), "harmless variant")
        parts.append(f"{quiet} of {variants} quiet")
    if missed:
        parts.append(f"{missed} missed")
    if broken:
        parts.append(f"{broken} could not be judged (broken)")
    return f"{'; '.join(parts)}."


def _controls_word(controls: Sequence[ControlResult]) -> str:
    verdicts = {c.verdict for c in controls}
    if verdicts & {ControlVerdict.MISSED, ControlVerdict.NOISY}:
        return "fail"
    return "broken" if ControlVerdict.BROKEN in verdicts else "pass"


def _ruling(results: Results) -> tuple[str, str]:
    run, tests = results.run, results.tests
    words = [str(row.verdict) for row in results.criteria]
    if run.interrupted:
        ended = sum(test.reason != "interrupted" for test in tests)
        total = len(tests) + len(run.unrun)
        bad = _bad(results)
        text = f"Interrupted after {ended} of {_count(total, 'test')}: "
        done = words.count("pass")
        decided = _count(done, "criterion", "criteria") if done else "nothing"
        verb = "is" if done <= 1 else "are"
        text += f"{bad or 'nothing failed'} so far, {decided} {verb} decided."
        return text, _worst(words) if bad else "not-run"
    if not tests:
        why = f"{run.uncollected[0]}" if run.uncollected else "nothing is decided"
        return f"No test ran: {why}.", "broken" if run.uncollected else "not-run"
    return _of_all(results) if run.full else _of_a_part(results)


def _of_all(results: Results) -> tuple[str, str]:
    deciding = [c for c in results.criteria if c.decides]
    passed = [c for c in deciding if c.verdict is Verdict.PASS]
    rest = Counter(str(c.verdict) for c in deciding if c not in passed)
    if not rest:
        text = f"All {len(deciding)} required criteria passed."
        others = [c for c in results.criteria if not c.decides]
        bad = [c.id for c in others if str(c.verdict) in {"fail", "broken"}]
        worst = _worst(str(c.verdict) for c in others if c.id in bad)
        if bad:
            return f"{text[:-1]}, others did not: {', '.join(bad)}.", worst
        if wrong := _bad(results):
            return f"{text[:-1]}, but {wrong}.", _worst_test(results.tests)
        return text, "pass"
    said = ", ".join(f"{n} {word}" for word, n in sorted(rest.items()))
    text = f"{len(passed)} of {len(deciding)} required criteria passed; {said}."
    return text, _worst(rest)


def _of_a_part(results: Results) -> tuple[str, str]:
    judged = [c for c in results.criteria if c.verdict is not Verdict.NOT_RUN]
    if not judged:
        bad = _bad(results)
        word = _worst_test(results.tests) if bad else "not-run"
        ran = _count(len(results.tests), "test")
        return f"A part of the suites: {ran} ran, {bad or 'no criterion judged'}.", word
    counted = Counter(str(c.verdict) for c in judged)
    said = ", ".join(f"{n} {word}" for word, n in sorted(counted.items()))
    rest = len(results.criteria) - len(judged)
    total = _count(len(judged), "criterion", "criteria")
    text = f"A part of the suites judged {total}: {said}"
    if wrong := _bad(results):
        text += f" ({wrong})"
    text += f"; {rest} not judged." if rest else "."
    worst = _worst(counted)
    return text, worst if worst != "pass" else _worst_test(results.tests)


def _bad(results: Results) -> str:
    counted: Counter[Outcome] = Counter(
        t.outcome for t in results.tests if t.reason != "interrupted"
    )
    parts = [
        f"{_count(counted[o], 'test')} {word}"
        for o, word in ((Outcome.FAILED, "failed"), (Outcome.BROKEN, "broken"))
        if counted[o]
    ]
    return ", ".join(parts)


def _worst(words: Iterable[str]) -> str:
    found = set(words)
    return next((word for word in _WORST if word in found), "pass")


def _worst_test(tests: Sequence[TestResult]) -> str:
    outcomes = {t.outcome for t in tests}
    if Outcome.FAILED in outcomes:
        return "fail"
    return "broken" if Outcome.BROKEN in outcomes else "pass"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def anchor_of(nodeid: str, number: int) -> str:
    """Name a test's place on the page: the same from run to run where it can be."""
    name = re.sub(r"[^a-z0-9]+", "-", short(nodeid).lower()).strip("-")
    return f"t{number}-{name}"[:80]
