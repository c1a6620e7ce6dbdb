"""A fault in a file of the user's: imported under a deadline, or refused in words.

Importing a file runs it, as pytest runs a conftest.py. What it prints goes to standard
error. A file that ends the process with `os._exit` ends this one: nothing can prevent
that inside one process.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from harness import errors
from harness.errors import InputError
from harness.fault.base import Fault
from harness.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import FrameType, ModuleType

IMPORT_S = 30.0


class _TooLong(BaseException):
    """The import took too long; `except Exception` does not hold it up."""


def in_file(file: Path, name: str) -> type[Fault]:
    """Return the fault class `name` of a file. Raises InputError."""
    module = _import(file.absolute())
    kind = getattr(module, name, None)
    if isinstance(kind, type) and issubclass(kind, Fault) and kind is not Fault:
        return kind
    known = [each.__name__ for each in faults_of(module)]
    if isinstance(kind, type):
        raise InputError(f"{file}: {name} is no subclass of harness.fault.Fault")
    raise InputError(
        f"{file} has no fault {name}{errors.near(name, known)}",
        hint=f"subclasses of harness.fault.Fault there: {', '.join(known) or 'none'}",
    )


def faults_of(module: ModuleType) -> list[type[Fault]]:
    """List the faults that a module defines, in its order."""
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Fault)
        and kind.name
        and kind.__module__ == module.__name__
    ]


def _import(file: Path) -> ModuleType:
    if not os.path.lexists(file):
        raise InputError(f"there is no file {file}")
    read_text(file)  # refuses what is no text of a modest size
    name = f"harness_fault_{file.stem}_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file: its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    # `inspect` finds the file of a class by its module, for the digest.
    sys.modules[name] = module
    try:
        _run(spec, module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise InputError(f"{file} cannot be imported", hint=_words(error)) from error
    return module


def _run(spec: ModuleSpec, module: ModuleType) -> None:
    assert spec.loader is not None  # noqa: S101 - the caller made sure
    with redirect_stdout(sys.stderr), _limited():
        spec.loader.exec_module(module)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise in this thread once an import has taken too long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, IMPORT_S, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _words(error: BaseException) -> str:
    if isinstance(error, _TooLong):
        return f"it did not end within {IMPORT_S:.0f} s"
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({'' if error.code is None else error.code!r})"
    return f"{type(error).__name__}: {error}"
