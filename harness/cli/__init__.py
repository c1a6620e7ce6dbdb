"""The command line: `harness …`.

Each command imports the rooms it needs when it runs, so that `harness spec check` works
on a computer that has no QEMU. Every error is one message; `harness.exits` lists the
exit statuses, and `rim` decides which one an error gives.
"""

from __future__ import annotations

import sys

import typer

from harness.cli import (
    adopt,
    before_after,
    bench,
    cache,
    clean,
    controls,
    doctor,
    judge,
    reach,
    rehearse,
    repl,
    report,
    rim,
    soak,
    spec,
    up,
    verdict,
    visit,
)

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
# What follows the name is the command's own, options included.
_WORDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
app.command("sh", context_settings=_WORDS)(reach.sh)
app.command("client", context_settings=_WORDS)(visit.client)
app.command("open")(visit.open_page)
app.command("rehearse")(rehearse.rehearse)
app.command("console")(reach.console)
app.command("monitor")(reach.monitor)
app.command("images")(cache.images)
app.command("clean")(clean.clean)
app.command("bench")(bench.bench)
app.command("controls")(controls.controls)
app.command("before-after")(before_after.before_after)
app.command("soak")(soak.soak)
app.command("judge")(judge.judge)
app.command("verdict")(verdict.verdict)
app.command("adopt")(adopt.adopt)
app.add_typer(report.app, name="report")
app.add_typer(spec.app, name="spec")


def main() -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(rim.main(app))


__all__ = ["app", "main"]
