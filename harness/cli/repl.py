"""`harness repl`: a Python prompt with a machine, its site and the test bed at hand."""

from __future__ import annotations

import code
import readline
import rlcompleter
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.inputs import (
    DEFAULT_ACCEL,
    DEFAULT_FLEET,
    AccelChoice,
    FaultName,
    FleetFile,
    StageOption,
    make_testbed,
)
from harness.cli.say import live
from harness.cli.up import interrupts_held, start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import CodeType

_LOOK_S = 0.5  # how often to look whether the prompt is over


def repl(
    vm: Annotated[str, typer.Argument(help="a VM of the spec")] = "dev",
    stage: StageOption = "onboarded",
    *,
    fleet: FleetFile = DEFAULT_FLEET,
    accel: AccelChoice = DEFAULT_ACCEL,
    fault: FaultName = None,
) -> None:
    """Run a machine and a Python prompt that has it at hand.

    A program on standard input runs instead of the prompt; exit status 1 if it fails.
    """
    with live("starting") as progress:
        testbed = make_testbed(fleet, accel, progress, vm=vm, stage=stage, fault=fault)
        testbed.stages.ensure(stage, vm)
    with interrupts_held(), testbed.open(stage) as factory:
        (machine,) = start(factory, [vm])
        names = {
            variable_name(vm): machine,
            "site": factory.site,
            "machine_factory": factory,
            "testbed": testbed,
        }
        session = Repl(names)
        with interrupts_forwarded():
            if sys.stdin.isatty():
                session.prompt(banner(names, f"{vm} runs at stage {stage}."))
            else:
                session.run(sys.stdin.read())
    if session.failed:
        raise typer.Exit(1)


class Repl(code.InteractiveConsole):
    """Runs statements from a terminal, or a whole program, on given names."""

    locals: dict[str, Any]
    failed = False
    """Whether the program raised; an error at the prompt is no failure."""

    def prompt(self, greeting: str) -> None:
        """Read and run statements until Ctrl-D or `exit()`."""
        readline.set_completer(rlcompleter.Completer(self.locals).complete)
        readline.parse_and_bind("tab: complete")
        self.interact(greeting, exitmsg="Taking it down.")
        self.failed = False

    def run(self, program: str) -> None:
        """Run a program to its end or its first error, which `failed` then says."""
        try:
            compiled = compile(program, "<stdin>", "exec")
        except SyntaxError:
            self.showsyntaxerror("<stdin>")
        else:
            self.runcode(compiled)

    def runcode(self, code: CodeType) -> None:
        """Run a statement, then leave the guest agents to `harness sh`."""
        try:
            super().runcode(code)
        finally:
            hang_up(self.locals.values())

    def showtraceback(self) -> None:
        """Show an exception from the statement on, without the frames around it."""
        self.failed = True
        _, error, trace = sys.exc_info()
        kept = trace and trace.tb_next
        self.write("".join(traceback.format_exception(None, error, kept)))

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        """Show why a statement cannot be parsed."""
        self.failed = True
        super().showsyntaxerror(*args, **kwargs)


def variable_name(vm: str) -> str:
    """Return a VM's name as Python can spell it."""
    return vm.replace("-", "_")


def banner(names: Mapping[str, object], first: str) -> str:
    """Write what is at hand, with the class of each name and its summary."""
    width = max(map(len, names))
    lines = [
        f"  {name:<{width}}  {type(value).__name__}: {summary(value)}"
        for name, value in names.items()
    ]
    last = "Tab completes, Ctrl-C ends a statement, Ctrl-D takes it all down."
    return "\n".join([first, "", *lines, "", last])


def summary(value: object) -> str:
    """Return the first line of a class's docstring."""
    return (type(value).__doc__ or "").partition("\n")[0]


def hang_up(values: Iterable[object]) -> None:
    """Close connections to guest agents: QEMU serves one client of each socket."""
    from harness.machine import Machine  # noqa: PLC0415 - see the package's docstring

    for value in values:
        if isinstance(value, Machine):
            value.agent.close()


@contextmanager
def interrupts_forwarded() -> Iterator[None]:
    """Raise KeyboardInterrupt in this thread at Ctrl-C, for the length of the `with`.

    SIGINT stays blocked (`interrupts_held`), so that machines that a statement starts
    inherit that; a thread waits for it, and sends SIGUSR1 to this one.
    """
    prompt, over = threading.get_ident(), threading.Event()

    def forward() -> None:
        while not over.is_set():
            if signal.sigtimedwait({signal.SIGINT}, _LOOK_S) and not over.is_set():
                signal.pthread_kill(prompt, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    thread = threading.Thread(target=forward, name="interrupts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
