"""Round numbers for the ticks of an axis."""

from __future__ import annotations

import math

_STEPS = (1, 2, 5, 10)
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600)


def nice_ticks(
    low: float, high: float, most: int, *, whole: bool = False
) -> list[float]:
    """Return up to `most` + 1 round numbers between two; `whole` ones read as clock."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    step = _clock_step(span / most) if whole else _step(span / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 9) for n in range(first, last + 1)]


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * 0.999)


def _clock_step(least: float) -> float:
    return next((float(step) for step in _CLOCK if step >= least), _step(least))
