"""`harness spec`: look at a fleet spec without starting anything."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.say import out, show, table
from harness.criteria import REGISTER
from harness.fleet import lacking, load_fleet, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.fleet import Fleet

app = typer.Typer(help="Check a fleet spec, print its schema.", no_args_is_help=True)


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="TOML, or `nix eval` JSON")],
) -> None:
    """List every mistake of a spec, or summarise it."""
    fleet = load_fleet(file)
    vms = table("VM", "MAC", "address", "memory", "vcpu", "disk", "autostart")
    for vm in fleet.vms.values():
        sizes = (f"{vm.mem} MiB", str(vm.vcpu), f"{vm.disk_size_g} GiB")
        vms.add_row(vm.name, vm.mac, str(vm.ip), *sizes, str(vm.autostart).lower())
    show(vms)
    if move := fleet.migration:
        out.print(f"\n{move.vm} moves from {move.temporary} to {move.final}.")
    if fleet.scaled:
        out.print("\nThrowaway machines are smaller:")
        for sentence in fleet.scaled:
            out.print(f"  {sentence}")
    out.print(f"\n{file} is fine (digest {fleet.digest[:16]}).")
    if unjudged := list(_unjudged(fleet)):
        out.print("\nWith it these criteria cannot be judged:")
        for line in unjudged:
            out.print(f"  {line}", markup=False)


def _unjudged(fleet: Fleet) -> Iterator[str]:
    """Say of each criterion what it lacks, wholly or for some of its tests."""
    for row in REGISTER:
        if why := lacking(fleet, row.sections):
            yield f"{row.id}: {why}"
        elif why := lacking(fleet, row.partly):
            yield f"{row.id} (in part): {why}"


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of a spec."""
    typer.echo(schema.text(), nl=False)
