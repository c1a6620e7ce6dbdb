"""The commit of the code that made a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.process import run

if TYPE_CHECKING:
    from pathlib import Path


def commit(root: Path) -> str:
    """Name the git commit of a directory, `+changes` when tracked files differ from it.

    Empty outside of a repository: a report without a commit says so by its absence.
    """
    deadline = Deadline.after(10, "git to describe the source")
    try:
        head = run(["git", "-C", str(root), "rev-parse", "HEAD"], deadline=deadline)
        state = run(
            ["git", "-C", str(root), "status", "--porcelain", "-uno"], deadline=deadline
        )
    except HarnessError:
        return ""
    if head.rc != 0 or state.rc != 0:
        return ""
    return head.stdout.strip() + ("+changes" if state.stdout.strip() else "")
