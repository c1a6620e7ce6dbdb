"""Faults in files of the user's: whatever is wrong with one is a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import InputError
from harness.fault import foreign, load, load_all

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
from harness.fault import Fault, must_fail

class Mine(Fault):
    '''It goes wrong.'''
    name = "mine"
    source = "here"
    expects = must_fail("gc-no-estale", "a check")
"""


def write(directory: Path, text: str, name: str = "theirs.py") -> str:
    """Put a fault into a file; return its reference."""
    (directory / name).write_text(text)
    return f"{directory / name}:Mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys; sys.exit(0)", "it calls sys.exit(0)"),
        ("raise SystemExit", "it calls sys.exit("),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named"),
        ("raise BaseException('x')", "BaseException: x"),
        ("x = 1\0", "holds a NUL byte"),
        ("", "has no fault Mine"),
        ("class Mine: pass", "no subclass of harness.fault.Fault"),
        ("from harness.fault import Fault as Mine", "no subclass of"),
        ("Mine = 7", "has no fault Mine"),
        (GOOD.replace("Mine", "Mien"), "did you mean Mien?"),
        (GOOD + "    def __init__(self): 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_gives_no_fault(tmp_path: Path, text: str, words: str) -> None:
    """It is refused in words, and never with the status that it asks for."""
    with pytest.raises(InputError) as refused:
        load(write(tmp_path, text))
    assert words in str(refused.value)


def test_an_import_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is limited, also where it catches every exception."""
    monkeypatch.setattr(foreign, "IMPORT_S", 0.2)
    loop = "while True:\n  try:\n    pass\n  except Exception: pass\n"
    with pytest.raises(InputError, match="did not end within"):
        load(write(tmp_path, loop))


def test_what_a_file_prints_is_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output belongs to the command: `--json` has to remain JSON."""
    assert load(write(tmp_path, f"print('loud')\n{GOOD}")).name == "mine"
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "loud\n")


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('"mine"', "5", "name", "a text"),
        ('"mine"', '"My Fault"', "name", "a-z and 0-9"),
        ('"mine"', '"a/b"', "name", "a-z and 0-9"),
        ('must_fail("gc-no-estale", "a check")', '"gc"', "expects", "a mapping"),
        ('must_fail("gc-no-estale", "a check")', "None", "expects", "a mapping"),
        (
            'must_fail("gc-no-estale", "a check")',
            '{"gc-no-estale": "a check"}',
            "expects.gc-no-estale",
            "a set",
        ),
        ("gc-no-estale", "gc-no-stale", "expects", "did you mean gc-no-estale?"),
        ('"here"', '"here"; after = "soon"', "after", "one of: cloud"),
        ('"here"', '"here"; machines = "dev"', "machines", "a frozenset"),
        ('"here"', '"here"; scenario = 3', "scenario", "a text"),
        ('"here"', '"here"; criteria = ("x",)', "criteria", "of the register"),
        ("'''It goes wrong.'''", "", "docstring", "one sentence"),
    ],
)
def test_a_class_that_cannot_be_judged(
    tmp_path: Path, old: str, new: str, key: str, words: str
) -> None:
    """Its attributes are named with what they should be, of any type that they are."""
    with pytest.raises(InputError) as refused:
        load(write(tmp_path, GOOD.replace(old, new)))
    assert [mistake.key for mistake in refused.value.mistakes] == [key]
    assert words in str(refused.value)


def test_all_mistakes_of_several_faults_are_one_message(tmp_path: Path) -> None:
    """One that is given twice is one of them."""
    mine = write(tmp_path, GOOD)
    ends = write(tmp_path, "import sys; sys.exit(0)", "ends.py")
    with pytest.raises(InputError) as refused:
        load_all([mine, "killmode-mixt", ends, mine])
    said = str(refused.value)
    assert "did you mean killmode-mixed" in said
    assert "it calls sys.exit(0)" in said
    assert "name = mine: each fault once" in said


@pytest.mark.parametrize(
    ("name", "near"),
    [("killmode", "killmode-control-group"), ("boot-ful", "boot-full")],
)
def test_an_unknown_name_has_near_ones(name: str, near: str) -> None:
    """A user sees some, not all 126."""
    with pytest.raises(InputError, match="did you mean") as refused:
        load(name)
    assert near in refused.value.summary
    assert len(str(refused.value)) < 500
