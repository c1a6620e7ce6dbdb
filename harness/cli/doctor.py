"""`harness doctor`: what this computer has and lacks, with the remedy."""

from __future__ import annotations

import typer

from harness.cli.say import err, out, show, table
from harness.exits import Exit


def doctor() -> None:
    """List what this computer has and lacks, with the remedy."""
    from harness import host, reference  # noqa: PLC0415 - see the package's docstring
    from harness.shell import manager, weight  # noqa: PLC0415 - same

    with err.status("looking, and booting a kernel under KVM where there is one"):
        findings = [*reference.examine(), manager.finding(), weight.finding()]
    lines = table("", "what", "found", "how to mend")
    for found in findings:
        needed = found.needed
        word = "ok" if found.ok else "missing" if needed else "without"
        lines.add_row(word, found.name, found.detail, "" if found.ok else found.mend)
    show(lines)
    if any(not found.ok and found.needed for found in findings):
        debian = host.distribution() is host.Distribution.DEBIAN
        more = "; `make accept` installs packages" if debian else ""
        out.print(f"\nSomething that every run needs is missing{more}.")
        raise typer.Exit(Exit.ERROR)
    if any(not found.ok for found in findings):
        out.print(
            "\nThis computer can run the suites; what it is without, it can do"
            " without: each line says what that costs."
        )
    else:
        out.print("\nThis computer can run it all.")
