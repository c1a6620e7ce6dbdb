"""`harness doctor`: what this computer has and lacks, with the remedy."""

from __future__ import annotations

import typer

from harness.cli.say import err, out, show, table


def doctor() -> None:
    """List what this computer has and lacks, with the remedy."""
    from harness import host  # noqa: PLC0415 - see the package's docstring
    from harness.shell import weight  # noqa: PLC0415 - same

    with err.status("looking, and booting a kernel under KVM where there is one"):
        findings = [*host.examine(), weight.finding()]
    lines = table("", "what", "found", "how to mend")
    for found in findings:
        needed = getattr(found, "needed", True)
        word = "ok" if found.ok else "missing" if needed else "without"
        lines.add_row(word, found.name, found.detail, "" if found.ok else found.mend)
    show(lines)
    if any(not found.ok and getattr(found, "needed", True) for found in findings):
        out.print("\nSomething is missing; `make accept` installs packages on Debian.")
        raise typer.Exit(1)
    out.print("\nThis computer can run it all.")
