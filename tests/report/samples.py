"""A run's worth of results, for the tests of the writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.criteria import REGISTER, Verdict
from harness.evidence import Check, Recorder
from harness.report.model import (
    CheckResult,
    ControlResult,
    CriterionResult,
    HostFacts,
    Results,
    RunSummary,
    Spread,
    TestResult,
    Timings,
)

if TYPE_CHECKING:
    from pathlib import Path

SWITCH = "suites/sessions/test_switch.py::test_switch[two in a row]"
SWAP = "suites/network/test_swap.py::test_swap"
GC = "suites/store/test_gc.py::test_gc"


def recorded(check: Check) -> CheckResult:
    """Give a check as a report has it."""
    return CheckResult(**check.record(), ok=check.held, reason=str(check), at=1.5)


def results() -> Results:
    """Give results with every outcome and verdict, and every awkward character."""
    verdicts = dict(
        zip(
            ("switch-keeps-sessions", "swap-keeps-address", "gc-no-estale"),
            (Verdict.PASS, Verdict.FAIL, Verdict.BROKEN),
            strict=True,
        )
    )
    tests = {
        "switch-keeps-sessions": SWITCH,
        "swap-keeps-address": SWAP,
        "gc-no-estale": GC,
    }
    return Results(
        run=RunSummary(
            id="20260102T030405Z-abcd",
            started="2026-01-02T03:04:05+00:00",
            duration_s=61.5,
            commit="0123456789abcdef",
            guest="reference",
            accel="tcg",
            accel_reason="no kernel line under KVM within 5 s & counting",
            qemu="7.2.22",
            host=HostFacts(
                cpus=2,
                memory_mib=3940,
                memory_available_mib=3000,
                load_start=0.5,
                load_end=2.5,
                steal_share=0.015,
            ),
            images={"reference": "sha256:00"},
            scaled=("dev: mem 16384 → 1024 MiB",),
            full=True,
            selection="suites",
        ),
        criteria=tuple(
            CriterionResult(
                id=row.id,
                title=row.title,
                decides=row.decides,
                verdict=verdicts.get(row.id, Verdict.NOT_RUN),
                reason=f"reason of {row.id}",
                tests=(tests[row.id],) if row.id in tests else (),
            )
            for row in REGISTER
        ),
        tests=(
            TestResult(
                nodeid=SWITCH,
                outcome="passed",
                duration_s=12.5,
                criteria=("switch-keeps-sessions",),
                stage="onboarded",
                checks=(recorded(Check("pids", [412, 412], [412, 412], of="PIDs")),),
                evidence=("evidence/switch/record.json",),
            ),
            TestResult(
                nodeid=SWAP,
                title="The address moves within its budget.",
                outcome="failed",
                reason="one-mac: two MACs answer <b>\n| \x1b[31mred\x00 console",
                duration_s=70,
                criteria=("swap-keeps-address",),
                stage="onboarded",
                checks=(recorded(Check("one-mac", ["<two> & more"], [], of="MACs")),),
                notes=("noted",),
                machines=("machines/dev@network.swap.swap",),
            ),
            TestResult(nodeid=GC, outcome="broken", reason="QEMU died", stage="nixos"),
            TestResult(nodeid="suites/x.py::test_s", outcome="skipped", reason="no X"),
        ),
    )


def with_controls(results: Results) -> Results:
    """Add a control of every kind, and timings."""
    controls = (
        ControlResult(
            id="killmode-control-group",
            expects=("switch-keeps-sessions",),
            failed=("switch-keeps-sessions",),
            verdict="caught",
            check="same-session-pids",
        ),
        ControlResult(
            id="two-macs",
            expects=("swap-keeps-address",),
            failed=("gc-no-estale",),
            verdict="missed",
            collateral=("gc-no-estale",),
        ),
        ControlResult(id="slow-dns", expects=(), failed=(), verdict="quiet"),
    )
    timings = Timings(cold_boot_s=44, restore_s=Spread(p50=0.5, p95=0.7, n=20))
    return results.model_copy(update={"controls": controls, "timings": timings})


def lay_out(directory: Path) -> None:
    """Put the evidence that the results speak of into a report directory."""
    recorder = Recorder(SWITCH, directory / "evidence" / "switch")
    recorder(Check("pids", [412, 412], [412, 412], of="PIDs"))
    gaps = [(n / 10, 100 + n % 7) for n in range(50)]
    recorder.series("heartbeat", gaps, budget=1000, events={"switch": 2.0})
    probes = [(n / 20, not 20 < n < 30, "ping") for n in range(60)]
    recorder.series("address", probes)
    recorder.series("dns", [(n, n != 3, f"10.0.0.{n == 3:d}") for n in range(9)])
    recorder.series("inodes", [(n, 40_000 + 3 * n, "/") for n in range(8)])
    machine = directory / "machines" / "dev@network.swap.swap"
    machine.mkdir(parents=True)
    lines = [f"line {n} of many\n" for n in range(1, 900)]
    last = "Linux version\n\x1b[31mpassword: hunter2\x07\n<script>alert(1)</script>\n"
    (machine / "console.log").write_text("".join(lines) + last)
