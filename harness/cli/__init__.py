"""The command line: `harness …`.

Each command imports the rooms it needs when it runs, so that `harness spec check` works
on a computer that has no QEMU. Every error is one message and exit status 2; exit
status 1 is a negative verdict or ruling.
"""

from __future__ import annotations

import signal
import sys

import typer

from harness.cli import (
    adopt,
    before_after,
    bench,
    cache,
    controls,
    doctor,
    judge,
    reach,
    repl,
    soak,
    spec,
    up,
)
from harness.cli.say import explain
from harness.errors import GuestFailure, HarnessError
from harness.signals import Ended, interrupting

NO = 1
WRONG = 2

app = typer.Typer(
    name="harness",
    help="Throwaway VMs from a fleet spec, and what they prove.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("doctor")(doctor.doctor)
app.command("up")(up.up)
app.command("repl")(repl.repl)
app.command("sh", context_settings={"ignore_unknown_options": True})(reach.sh)
app.command("console")(reach.console)
app.command("monitor")(reach.monitor)
app.command("images")(cache.images)
app.command("clean")(cache.clean)
app.command("bench")(bench.bench)
app.command("controls")(controls.controls)
app.command("before-after")(before_after.before_after)
app.command("soak")(soak.soak)
app.command("judge")(judge.judge)
app.command("adopt")(adopt.adopt)
app.add_typer(spec.app, name="spec")


def main() -> None:
    """Run the command line and leave with its exit status."""
    try:
        with interrupting(Ended, (signal.SIGTERM, signal.SIGHUP)):
            app()
    except Ended as end:
        explain(end)
        raise
    except HarnessError as error:
        explain(error)
        sys.exit(WRONG)
    except GuestFailure as error:
        explain(error)
        sys.exit(NO)


__all__ = ["app", "main"]
