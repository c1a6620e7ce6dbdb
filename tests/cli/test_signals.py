"""SIGTERM and SIGHUP of commands: they end in order, and say by what."""

from __future__ import annotations

import signal
import sys
import uuid
from pathlib import Path
from textwrap import dedent

import pytest

from harness import report
from harness.criteria import DECIDING
from harness.deadline import poll
from harness.process import PIPE, spawn
from tests.cli.test_soak import ENDLESS, lay_out
from tests.offspring import offspring
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-c", "from harness.cli import main; main()"]
FAULTS = """
    from harness.fault import Fault, must_fail

    class One(Fault):
        '''It goes wrong.'''

        name = "one"
        source = "here"
        expects = must_fail("gc-no-estale", "held")

    class Two(One):
        '''It goes wrong, too.'''

        name = "two"
"""
# What `harness up` does, with a process in the place of a machine.
UP = """
import signal, sys
import harness.cli
from harness import process
from harness.cli import up

class Machine:
    def check(self):
        pass

def command(**_):
    with up.interrupts_held(), process.spawn(["sleep", "60"]) as child:
        try:
            print("ready", flush=True)
            {wait}
        finally:
            print("child lives" if process.alive(child.pid) else "child is gone")

harness.cli.app = command
harness.cli.main()
"""
PROMPT = """from harness.cli.repl import Repl
            session = Repl({"x": 1})
            session.prompt("hello")"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "words",
    [["soak"], ["controls", "faults.py:One", "faults.py:Two"]],
    ids=lambda words: str(words[0]),
)
def test_a_series_of_runs_ends_with_its_command(
    tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    """The run that goes on reports as interrupted; no other begins."""
    mark = f"series-{uuid.uuid4()}"
    env = lay_out(tmp_path, dict.fromkeys(DECIDING, ENDLESS)) | {"MARK": mark}
    (tmp_path / "faults.py").write_text(dedent(FAULTS))
    with spawn([*MAIN, *words], cwd=tmp_path, env=env, stderr=PIPE) as process:
        running = tmp_path / "running"
        poll(lambda: running.exists() or None, patient(40, "a run"))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert errors.decode().splitlines()[-1] == f"harness: ended by {number.name}"
    assert process.returncode == 128 + number
    assert offspring(mark) == {}
    (results,) = (tmp_path / "reports").glob(f"*-{words[0]}-*/*/latest/results.json")
    assert report.load(results).run.interrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("wait", ["up._wait([Machine()])", PROMPT])
def test_a_machine_in_a_terminal_is_taken_down_in_order(
    number: signal.Signals, wait: str
) -> None:
    """As at Ctrl-C: what it runs on still runs while it is taken down."""
    argv = [sys.executable, "-c", UP.replace("{wait}", wait)]
    with spawn(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        moment = patient(0.5, "a moment")
        poll(lambda: moment.expired or None, patient(30, "the wait"))
        process.send_signal(number)
        said, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number, errors
    assert f"ended by {number.name}" in errors.decode()
    assert b"child lives" in said
