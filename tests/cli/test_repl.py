"""The Python prompt of `harness repl`, in processes and terminals of its own."""

from __future__ import annotations

import os
import pty
import select
import sys
from pathlib import Path

import pytest

from harness import process
from harness.cli.repl import banner, variable_name
from tests.waiting import patience, patient

ROOT = Path(__file__).parents[2]
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]

PROGRAM = """
import sys
from harness.cli.repl import Repl
session = Repl({"dev": "a machine"})
session.run(sys.stdin.read())
sys.exit(session.failed)
"""

PROMPT = """
import os, signal
from harness import process
from harness.cli.repl import Repl, interrupts_forwarded
from harness.cli.up import interrupts_held
with interrupts_held():
    with interrupts_forwarded():
        session = Repl({"device": "a machine", "run": process.spawn})
        session.prompt("hello")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print("blocked again", signal.SIGINT in blocked)
print("failed", session.failed)
"""


def program(text: str) -> process.Completed:
    """Run a program on standard input."""
    deadline = patient(30, "the program")
    argv = [sys.executable, "-c", PROGRAM]
    return process.run(argv, deadline=deadline, stdin=text.encode(), cwd=ROOT)


class PromptTerminal:
    """The prompt in a terminal; what it shows is kept in `shown`."""

    def __init__(self, controller: int) -> None:
        self.controller = controller
        self.shown = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.controller, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until it is seen, as people do.

        Python loses one that comes between its prompt and its wait for a key.
        """
        self.type("\x03")
        self.wait_for("KeyboardInterrupt", again="\x03")
        self.wait_for(">>> ")

    def wait_for(self, text: str, again: str = "") -> str:
        """Read until the text is shown; return all up to there, and forget it.

        Every few seconds without output the keys of `again` are pressed.
        """
        deadline = patient(30, f"{text!r} on the terminal")
        while text not in self.shown:
            readable, _, _ = select.select([self.controller], [], [], 3 * patience())
            if readable:
                self.shown += os.read(self.controller, 4096).decode()
            elif deadline.expired:
                raise deadline.error(self.shown)
            else:
                self.type(again)
        before, _, self.shown = self.shown.partition(text)
        return before


def test_a_program_has_the_names_and_runs_as_python_runs_one() -> None:
    """Blocks need no blank line after them, and only `print` prints."""
    said = program("for word in dev.split():\n    print(word)\ndev\nprint('end')\n")
    assert said.check().stdout == "a\nmachine\nend\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [("print(1)\n1/0\nprint(2)\n", "ZeroDivisionError"), ("print(\n", "SyntaxError")],
)
def test_a_program_that_fails_ends_there(text: str, error: str) -> None:
    """With a traceback and exit status 1."""
    said = program(text)
    assert said.rc == 1
    assert error in said.stderr
    assert "2" not in said.stdout


def test_a_program_chooses_its_exit_status() -> None:
    """`exit` works as it does in a script."""
    assert program("raise SystemExit(7)\n").rc == 7


def test_the_prompt_completes_and_survives_ctrl_c() -> None:
    """Tab knows the names; Ctrl-C ends a statement, but no child that it started."""
    controller, terminal = pty.openpty()
    argv = ["setsid", "--ctty", sys.executable, "-c", PROMPT]
    env = {**os.environ, "TERM": "dumb"}
    with (
        os.fdopen(controller, "r+b", buffering=0),
        os.fdopen(terminal, "r+b", buffering=0) as wire,
        process.spawn(argv, stdin=wire, stdout=wire, stderr=wire, env=env, cwd=ROOT),
    ):
        screen = PromptTerminal(controller)
        screen.wait_for("hello")
        screen.wait_for(">>> ")
        screen.type("devi\t.upper()\n")
        screen.wait_for("'A MACHINE'")
        screen.type("held = run(['sleep', '60']); child = held.__enter__()\n")
        screen.type("import threading; print('be' + 'gun'); threading.Event().wait()\n")
        screen.wait_for("begun")
        screen.interrupt()
        screen.interrupt()
        screen.type("1/0\n")
        screen.wait_for("ZeroDivisionError")
        screen.type("'child is ' + ('gone' if child.poll() else 'alive')\n")
        screen.wait_for("'child is alive'")
        screen.wait_for(">>> ")
        screen.type("child.kill()\n")
        screen.wait_for(">>> ")
        screen.type("\x04")
        screen.wait_for("Taking it down.")
        screen.wait_for("blocked again True")
        screen.wait_for("failed False")


def test_the_banner_names_what_is_at_hand() -> None:
    """Each name with its class and the class's own summary."""

    class Lan:
        """A LAN of its own."""

    text = banner({"dev": "", "site": Lan()}, "dev runs.")
    assert text.startswith("dev runs.\n\n  dev   str: str(object=")
    assert "  site  Lan: A LAN of its own.\n" in text
    assert variable_name("forgejo-mcp") == "forgejo_mcp"


@pytest.mark.parametrize("command", ["up", "repl"])
def test_a_fault_that_does_not_exist_is_refused_at_once(command: str) -> None:
    """Before anything is built, with those that there are."""
    deadline = patient(30, command)
    said = process.run([*HARNESS, command, "--fault", "x"], deadline=deadline, cwd=ROOT)
    assert said.rc == 2
    assert "no built-in fault is named 'x'" in said.stderr
    assert "`harness controls --list` lists them" in said.stderr
    assert "Traceback" not in said.stderr
