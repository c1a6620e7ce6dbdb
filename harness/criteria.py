"""The register of criteria, and how a verdict follows from the outcomes of tests.

Rows and ids are public; every report lists all of them. The verdict logic is pure, so
that a report can be judged again from its recorded outcomes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Verdict(StrEnum):
    """What a run says about one criterion."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"  # the subject did not keep the promise
    BROKEN = "broken"  # the instrument failed, or the event under test did not happen
    PARTIAL = "partial"  # what ran passed, but not every test that decides it ran
    NOT_RUN = "not-run"  # nothing was judged; the reason says why


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "broken"
    SKIPPED = "skipped"
    DESELECTED = "deselected"  # left out by -k, -m or --deselect
    UNRUN = "unrun"  # collected, but the run ended before its turn

    @property
    def bad(self) -> bool:
        """Whether the subject or the instrument failed."""
        return self in {Outcome.FAILED, Outcome.BROKEN}


RanOutcome = Literal[Outcome.PASSED, Outcome.FAILED, Outcome.BROKEN, Outcome.SKIPPED]
"""The outcomes of a test that had its turn."""


class StageName(StrEnum):
    """The states of a machine under migration, in their order; a test starts at one."""

    CLOUD = "cloud"
    NIXOS = "nixos"
    ONBOARDED = "onboarded"
    SWAPPED = "swapped"


class ControlVerdict(StrEnum):
    """What a run under a fault says about it; the last two are for harmless ones."""

    CAUGHT = "caught"
    MISSED = "missed"
    BROKEN = "broken"
    QUIET = "quiet"  # nothing failed
    NOISY = "noisy"  # something did


@dataclass(frozen=True, slots=True)
class Criterion:
    """One row of the register.

    `decided_by` names the observables, in short. `decides` marks the five that the exit
    status of a full run rests on. `needs` says why no test judges this row yet; it is
    not-run until then. `sections` are the parts of a spec without which none can, and
    `partly` those without which some cannot.
    """

    id: str
    title: str
    decided_by: str
    decides: bool = False
    needs: str = ""
    sections: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """One test's outcome, as far as a verdict needs it.

    A criterion passes without a test that is `optional`, such as one marked thorough.
    """

    nodeid: str
    outcome: Outcome
    reason: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the sentence that explains it."""

    verdict: Verdict
    reason: str


_NAMED = 3  # tests that a reason names before it counts the rest
_CHECKOUT = "the suites have no test for it: no option takes the fleet's repository"

REGISTER: tuple[Criterion, ...] = (
    Criterion(
        "switch-keeps-sessions",
        "a nixos-rebuild switch that changes lab.service keeps lab sessions alive",
        "same tmux server, same session processes, unbroken heartbeat in them and in"
        " their processes outside lab's unit, a terminal that attaches, while lab"
        " itself restarted and is healthy again",
        decides=True,
    ),
    Criterion(
        "reboot-boots-guest-kernel",
        "a reboot boots the kernel that the guest itself built and installed",
        "new boot_id, kernel release and booted system of the new generation, no"
        " kernel on QEMU's command line, old generation still boots, room on /boot",
        decides=True,
    ),
    Criterion(
        "gc-no-estale",
        "garbage collection produces no ESTALE",
        "every file of every live closure reads back, store verifies, no deleted"
        " mappings, no foreign mount under /nix",
        decides=True,
    ),
    Criterion(
        "swap-keeps-address",
        "the final address stays reachable and DNS holds through the swap",
        "LAN client's samples: outage within budget, no wrong DNS answer, exactly one"
        " MAC afterwards, temporary address silent",
        decides=True,
        sections=("migration", "network.hosts"),
    ),
    Criterion(
        "inodes-within-budget",
        "inodes stay within budget",
        "used share and fitted growth per switch + GC cycle, bytes per inode, head-room"
        " for more generations",
        decides=True,
    ),
    Criterion(
        "shell-lifecycle",
        "the unit runs state directory, init, tap-up, QEMU, tap-down in this order",
        "order of events, idempotent init, nothing left after a crash",
    ),
    Criterion(
        "shell-options",
        "every option of the module is real in the guest or on the host",
        "mac, ip, mem, vcpu, disk size, autostart, CPU weight, cloud-init",
        partly=("vms",),
    ),
    Criterion(
        "two-consumers",
        "dev and openclaw run side by side from the same module",
        "stopping, crashing or re-creating one leaves the other alone",
        sections=("vms",),
    ),
    Criterion(
        "parallel-on-temporary-ip",
        "dev works on the temporary address while the old VM keeps the final one",
        "not one lost probe to the old VM",
        sections=("migration", "network.hosts"),
    ),
    Criterion(
        "onboard-infect",
        "the cloud image becomes a NixOS with static network",
        "console answers throughout, hardware-configuration.nix, old root gone",
    ),
    Criterion(
        "onboard-host-config",
        "the onboarded host is configured as planned",
        "lab unit, users, GC timer, bento without reboot, no borg, stateVersion",
    ),
    Criterion(
        "onboard-secrets",
        "secrets reach the host and only the host",
        "owner and mode in /run/secrets, nothing in the store, unknown key refused",
    ),
    Criterion(
        "bento-pull",
        "a bento pull deploys by switch and never reboots",
        "same boot_id, sessions kept, bad configuration leaves the old generation",
    ),
    Criterion(
        "forgejo-mcp-reach",
        "forgejo-mcp answers from dev",
        "HTTP from the guest to the service host",
        sections=("network.services",),
        partly=("migration",),
    ),
    Criterion(
        "swap-retires-old",
        "the old VM is gone after the swap",
        "no process, image, state directory, tap or lease left, no removed file held"
        " open, no restart, only dev answers, weight on the new unit",
        sections=("migration",),
    ),
    Criterion(
        "ingress-auth",
        "the public path to lab still asks for authentication",
        "no access without a session, before and after the swap; web VM and LAN client"
        " reach lab on the final address; Remote-User is the portal's; streams survive"
        " a reload",
        sections=("migration", "ingress", "network.hosts"),
    ),
    Criterion(
        "swap-rollback",
        "going back to the old VM works within the budget",
        "LAN client's samples through the reverse swap",
        sections=("migration", "network.hosts"),
    ),
    Criterion(
        "checkout-sops",
        ".sops.yaml contains dev's key and its secrets file",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
    Criterion(
        "checkout-fleet",
        "fleet.nix contains dev's public key",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
    Criterion(
        "checkout-pre-commit",
        "scripts/pre-commit dry-builds hosts/dev as a host of its own",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
    Criterion(
        "checkout-cpu-priorities",
        "cpu-priorities.nix sets the weight of the new unit",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
    Criterion(
        "checkout-wrapper-gone",
        "the microvm wrapper of dev and its configuration are removed",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
    Criterion(
        "checkout-hosts-dev",
        "hosts/dev is complete",
        "static check of the checkout",
        needs=_CHECKOUT,
    ),
)

BY_ID: dict[str, Criterion] = {criterion.id: criterion for criterion in REGISTER}
DECIDING: tuple[str, ...] = tuple(c.id for c in REGISTER if c.decides)


def judge(
    criterion: Criterion,
    tests: Sequence[Judged],
    *,
    full: bool,
    missing: Sequence[str] = (),
) -> Decision:
    """Rule on one criterion from the outcomes of its tests.

    Any failed test fails it; else any broken test, or one that never got its turn,
    leaves it undecided; else at least one test must have passed. It passes when all
    tests that decide it ran: `missing` has those that this run did not even collect.
    `full` says whether the run was to cover everything, which only changes the reason
    of a not-run.
    """
    if not tests:
        return Decision(Verdict.NOT_RUN, _absent(criterion, full=full))
    by_outcome = {
        outcome: [t for t in tests if t.outcome is outcome] for outcome in Outcome
    }
    if failed := by_outcome[Outcome.FAILED]:
        return Decision(Verdict.FAIL, _first_of(failed, len(tests), "failed"))
    if broken := by_outcome[Outcome.BROKEN]:
        return Decision(Verdict.BROKEN, _first_of(broken, len(tests), "broken"))
    counts = _counts(tests)
    if by_outcome[Outcome.UNRUN]:
        return Decision(Verdict.NOT_RUN, f"the run ended early: {counts}")
    passed = len(by_outcome[Outcome.PASSED])
    lacking = [_absence(t) for t in tests if left_out(t)] + [*map(short, missing)]
    if passed and lacking:
        return Decision(Verdict.PARTIAL, _incomplete(passed, lacking))
    return Decision(Verdict.PASS if passed else Verdict.NOT_RUN, counts)


def deciding(tests: Iterable[Judged]) -> list[str]:
    """Name the tests that decide: all but the optional, or all where each is that."""
    known = list(tests)
    needed = [test.nodeid for test in known if not test.optional]
    return needed or [test.nodeid for test in known]


def unknown(ids: Iterable[str]) -> list[str]:
    """Name the ids that are no row of the register."""
    return sorted({i for i in ids if i not in BY_ID})


def _incomplete(passed: int, lacking: Sequence[str]) -> str:
    total = passed + len(lacking)
    named = ", ".join(lacking[:_NAMED])
    if len(lacking) > _NAMED:
        named += f" and {len(lacking) - _NAMED} more"
    return f"{passed} of {total} tests passed; not run: {named}"


def left_out(test: Judged) -> bool:
    """Whether a test that decides did not judge."""
    return not test.optional and test.outcome in {Outcome.SKIPPED, Outcome.DESELECTED}


def _absence(test: Judged) -> str:
    why = f" ({test.reason.splitlines()[0]})" if test.reason else ""
    return f"{short(test.nodeid)}{why}"


def _absent(criterion: Criterion, *, full: bool) -> str:
    if criterion.needs:
        return criterion.needs
    if full:
        return "no test covers it yet"
    return "not selected by this run"


def _first_of(tests: Sequence[Judged], total: int, word: str) -> str:
    first = tests[0]
    reason = first.reason.splitlines()[0] if first.reason else word
    head = f"{len(tests)} of {total} {_tests(total)} {word}"
    return f"{head}: {short(first.nodeid)}: {reason}"


def _counts(tests: Sequence[Judged]) -> str:
    counted = Counter(t.outcome for t in tests)
    parts = []
    for outcome in Outcome:
        if count := counted[outcome]:
            word = "did not run" if outcome is Outcome.UNRUN else outcome.value
            parts.append(f"{count} {_tests(count)} {word}")
    reasons = sorted(
        {
            t.reason.splitlines()[0]
            for t in tests
            if t.outcome is Outcome.SKIPPED and t.reason
        }
    )
    return ", ".join(parts) + (f" ({'; '.join(reasons)})" if reasons else "")


def _tests(count: int) -> str:
    return "test" if count == 1 else "tests"


def short(nodeid: str) -> str:
    """Shorten a node id to the test's own name."""
    return nodeid.rpartition("::")[2] or nodeid
