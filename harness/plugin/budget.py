"""Timeouts of a test's phases, by pytest-timeout's own timer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from pytest_timeout import Settings  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

# Building an image and every stage from empty caches happens in somebody's setup. Each
# step of it has a deadline of its own; this is the fence around them all.
SETUP_S = 3600.0
CALL_S = 600.0
TEARDOWN_S = 300.0

PATIENCE = pytest.StashKey[float]()
_CALL_BUDGET = pytest.StashKey[float]()


def take_over(item: pytest.Item) -> None:
    """Turn a test's `timeout` marker, or the default, into a budget for its call.

    Both are meant for a computer with KVM; `PATIENCE` stretches them.
    """
    marker = item.get_closest_marker("timeout")
    given = None
    if marker is not None:
        given = marker.args[0] if marker.args else marker.kwargs.get("timeout")
    item.stash[_CALL_BUDGET] = float(CALL_S if given is None else given)
    item.add_marker(pytest.mark.timeout(0), append=False)


def call_budget(item: pytest.Item) -> float:
    """Seconds a test's own body may take on this computer; 0 for no limit."""
    return item.stash.get(_CALL_BUDGET, CALL_S) * item.config.stash.get(PATIENCE, 1.0)


@contextmanager
def budget(item: pytest.Item, seconds: float) -> Iterator[None]:
    """Interrupt what goes on inside after `seconds`; the test then is broken."""
    if seconds <= 0 or not item.config.pluginmanager.hasplugin("timeout"):
        yield
        return
    hook = item.config.pluginmanager.hook
    settings = Settings(
        timeout=seconds,
        method="signal",
        func_only=False,
        disable_debugger_detection=False,
    )
    hook.pytest_timeout_set_timer(item=item, settings=settings)
    try:
        yield
    finally:
        hook.pytest_timeout_cancel_timer(item=item)
