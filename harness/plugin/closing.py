"""End a run: collect from ended machines, fold the journals, write the report."""

from __future__ import annotations

import shutil
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness import report
from harness.errors import HarnessError, HostError
from harness.evidence import redact_text
from harness.files import keep_details, refused
from harness.report import journal, merge
from harness.report.abandoned import salvage
from harness.report.model import RunSummary
from harness.report.provenance import commit
from harness.report.writer import point_latest
from harness.runtime import abandoned, sweep_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.plugin.options import Settings
    from harness.plugin.run import Run
    from harness.report.model import HostFacts


def close(
    run: Run,
    settings: Settings,
    *,
    duration_s: float,
    interrupted: bool,
    host: HostFacts,
    status: Callable[[report.Results], tuple[str, int]],
) -> report.Results:
    """Write a run's report, also when its processes were killed, and return it.

    `status` gives the word and the exit status of the results.
    """
    events = [*journal.read(run.journal.directory), *run.journal.lost]
    ledger = merge.fold(sorted(events, key=lambda event: event.at))
    for story in ledger.stories.values():
        for machine in story.machines:
            with keeping(run):
                salvage(machine, run.directory)
    result = RunSummary(
        id=run.id,
        started=run.started,
        duration_s=round(duration_s, 3),
        commit=commit(settings.root),
        guest=settings.guest,
        full=settings.full,
        selection=settings.selection,
        asked=settings.selected.criteria,
        interrupted=interrupted,
        host=host,
        fault=str(settings.fault or ""),
        **merge.summary(ledger.facts),
    )
    results = merge.results(ledger, result, run.directory)
    word, code = status(results)
    ended = results.run.model_copy(update={"verdict": word, "status": code})
    results = results.model_copy(update={"run": ended})
    # The verdict is known: nothing that keeps it off the disk may hide it.
    with keeping(run):
        report.write(results, run.directory)
        shutil.rmtree(run.journal.directory, ignore_errors=True)
        point_latest(run.directory)
    if run.journal.lost:
        count = len(run.journal.lost)
        run.problems.append(f"the disk did not take {count} lines of the journal")
    return results


@contextmanager
def keeping(run: Run) -> Iterator[None]:
    """Note what keeps the report from being whole, and go on."""
    try:
        yield
    except OSError as error:
        run.problems.append(str(refused(error) or error))
    except HarnessError as error:
        run.problems.append(str(error))
    except Exception as error:  # noqa: BLE001 - a drawing must not cost the verdict
        trace = redact_text("".join(traceback.format_exception(error)))
        what = f"the report could not be drawn: {type(error).__name__}: {error}"
        run.problems.append(f"{what}\n  hint: {keep_details(trace)}")


def rescue(run: Run) -> None:
    """Save what processes of a run that died know of machines; remove the rest.

    Soon: the next process that makes a run directory would remove it.
    """
    with suppress(OSError, HostError):
        for story in merge.fold(journal.read(run.journal.directory)).stories.values():
            for machine in story.machines:
                if abandoned(Path(machine.directory)):
                    salvage(machine, run.directory)
        sweep_runs()
