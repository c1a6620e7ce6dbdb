"""SIGKILL of a run of pytest, QEMUs and all, at ten moments: nothing stays."""

from __future__ import annotations

import os
import random
import signal
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired
from harness.process import spawn
from harness.runtime import runtime_directory, runtime_root
from tests.offspring import offspring
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Callable

MOMENTS = 10
GONE_WITHIN_S = 2.0
SUITE = {
    "suites/test_hold.py": """
        import os
        from pathlib import Path

        import pytest

        from harness.deadline import Deadline, poll
        from harness.machine import launch
        from harness.runtime import runtime_directory
        from harness.site import open_site
        from harness.fleet import NetworkSpec
        from tests.machine.conftest import ACCELERATOR, APART, VM
        from tests.machine.sector_agent import serve

        @pytest.mark.criterion("shell-lifecycle")
        @pytest.mark.parametrize("number", [1, 2])
        def test_hold(check, number):
            soon = Deadline.after(60, "the end")
            with runtime_directory() as home:
                directory = home / "machine"
                directory.mkdir(mode=0o700)
                with (
                    open_site(NetworkSpec(), home / "site", deadline=soon) as site,
                    serve(directory),
                    launch(
                        *(VM, site, Path(os.environ["BASE"]), directory, ACCELERATOR),
                        hooks=APART,
                    ),
                ):
                    Path(f"up-{number}").touch()
                    poll(lambda: None, soon)
    """,
}


@pytest.mark.timeout(180)
def test_no_moment_of_a_run_leaves_anything(image: Path, tmp_path: Path) -> None:
    """Processes, links and sockets go at once; files go when the next run begins."""
    moments = random.Random(97)  # noqa: S311 - to be the same in every run
    child = Child.made_of(tmp_path, SUITE)
    links = os.listdir("/sys/class/net")  # noqa: PTH208
    up, seen = tmp_path / "up-1", 0
    for number in range(MOMENTS):
        mark = f"run-{uuid.uuid4()}"
        env = {**child.env(), "MARK": mark, "BASE": str(image)}
        args = ("suites", "-n", "2") if number % 2 else ("suites",)
        with spawn(child.argv(*args), env=env, cwd=tmp_path) as process:
            if number % 3 == 0:  # in the middle of a machine's life, for certain
                up.unlink(missing_ok=True)
                poll(lambda: up.exists() or None, patient(40, "a machine"))
            moment = Deadline.after(moments.uniform(0.0, 3.0), "the moment")
            with suppress(DeadlineExpired):
                poll(lambda: None, moment)
            seen += any("qemu-system" in words for words in offspring(mark).values())
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            gone = patient(GONE_WITHIN_S, "all of the run to be gone")
            poll(_nothing_of(mark), gone, seen=partial(_told, mark))
        assert os.listdir("/sys/class/net") == links  # noqa: PTH208
    assert seen >= MOMENTS // 3, "QEMU was there to be killed"
    with runtime_directory():
        left = [path.name for path in runtime_root().iterdir() if path.is_dir()]
        # A run that ends just now has released its own, and still removes it.
        soon = patient(5, "what no living run has to be gone")
        poll(lambda: all(map(_held_or_gone, left)) or None, soon)


def _nothing_of(mark: str) -> Callable[[], bool | None]:
    return lambda: None if offspring(mark) else True


def _told(mark: str) -> str:
    return "\n".join(offspring(mark).values())


def _held_or_gone(name: str) -> bool:
    """Whether a living run of this user has this directory, or it was removed."""
    directory = runtime_root() / name
    if not directory.exists():
        return True
    try:
        inode = (directory / "lock").stat().st_ino
    except FileNotFoundError:  # half removed
        return False
    locks = Path("/proc/locks").read_text(encoding="ascii")
    return any(f":{inode} " in line for line in locks.splitlines() if "FLOCK" in line)
