"""Runs of the suites one after the other: pytest as a child, and one report of all."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import report
from harness.cli.say import err
from harness.criteria import Outcome
from harness.fault import Seen
from harness.process import PIPE, STDOUT, Popen, leashed, spawn
from harness.report import computer, summary, verdicts
from harness.report.model import RESULTS, ControlResult, Results, RunSummary
from harness.report.provenance import commit
from harness.report.writer import LATEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.fault import Fault, Ruling

_GRACE_S = 60.0  # machines have to be taken down
# A line that the plugin prints while a run goes on: when, and what.
_LIVE = re.compile(r"^ *\d+\.\d s")


class RunSeries:
    """What several runs have in common: a report directory, and when it began."""

    def __init__(self, kind: str, reports: Path, options: Sequence[str]) -> None:
        now = datetime.now(UTC)
        self.kind = kind
        self.id = f"{now:%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(2)}"
        self.directory = reports / self.id
        self._options = tuple(options)
        self._started = now.isoformat(timespec="seconds")
        self._began = time.monotonic()
        self._running: list[Popen[bytes]] = []
        self._host = computer.look()
        self._last = RunSummary(id=self.id, started=self._started, duration_s=0)
        verdicts.begin(reports, self.directory)

    def take(
        self, name: str, selection: Sequence[str], fault: str = ""
    ) -> Results | str:
        """Run tests, under a fault or none; return the results, or why there are none.

        The whole report of the run is kept below the series' own, as `name`.
        """
        into = self.directory / name
        into.mkdir(parents=True)
        argv = [
            *leashed("TERM"),  # orphaned, it still writes its report
            *(sys.executable, "-u", "-m", "pytest", *selection),
            *(("--fault", fault) if fault else ()),
            *("--report-dir", str(into)),
            *self._options,
        ]
        status = self._pytest(argv, into / "output.txt", name)
        file = into / LATEST / RESULTS
        if not file.exists():
            why = _usage_error(into / "output.txt") or f"{into}/output.txt"
            return f"pytest ended with {status} before any result: {why}"
        results = report.load(file)
        self._last = results.run
        return results

    def end(self) -> None:
        """Have the runs that go on now end in order; does not wait for them."""
        for child in self._running:
            child.terminate()

    def _pytest(self, argv: Sequence[str], output: Path, name: str) -> int:
        """Run pytest to its end, with its live lines on the terminal."""
        with (
            output.open("wb") as log,
            spawn(
                argv, env=_quiet(), stdout=PIPE, stderr=STDOUT, grace=_GRACE_S
            ) as child,
        ):
            self._running.append(child)
            for line in child.stdout or ():
                log.write(line)
                log.flush()
                text = line.decode(errors="replace").rstrip()
                if _LIVE.match(text):
                    err.print(f"    {name}: {text}", markup=False)
            return child.wait()

    def provenance(self) -> RunSummary:
        """Describe the series as one run: on what it ran, and for how long."""
        return self._last.model_copy(
            update={
                "id": self.id,
                "started": self._started,
                "duration_s": round(time.monotonic() - self._began, 1),
                "commit": commit(Path.cwd()),
                "host": computer.between(self._host, computer.look()),
                "selection": self.kind,
                "fault": "",
                "full": False,
                "unrun": (),
                "uncollected": (),
            }
        )


def _quiet() -> dict[str, str]:
    """Return the environment of a run that is one of several: it has no summary."""
    return {k: v for k, v in os.environ.items() if k != summary.VARIABLE}


def _usage_error(output: Path) -> str:
    """Return pytest's message about its command line, on one line."""
    _, found, said = output.read_text(errors="replace").partition("ERROR: ")
    return " ".join(said.partition("\n\n")[0].split()) if found else ""


def observe(results: Results) -> list[Seen]:
    """Reduce a run's results to what a ruling needs of each criterion."""
    seen = []
    for row in results.criteria:
        tests = [t for t in results.tests if row.id in t.criteria]
        broken = [t for t in tests if t.outcome is Outcome.BROKEN]
        checks = frozenset(
            c.name
            for t in tests
            if t.outcome is Outcome.FAILED
            for c in t.checks
            if not c.ok
        )
        reason = broken[0].reason.partition("\n")[0] if broken else row.reason
        seen.append(Seen(row.id, row.verdict, checks, bool(broken), reason))
    return seen


def recorded(fault: Fault, ruling: Ruling) -> ControlResult:
    """Put a ruling into the words of a report."""
    return ControlResult(
        id=fault.name,
        title=fault.story(),
        expects=tuple(fault.expects),
        failed=ruling.failed,
        verdict=ruling.verdict,
        collateral=ruling.collateral,
        check=ruling.check,
        reason=ruling.reason,
    )
