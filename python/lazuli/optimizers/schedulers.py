"""Schedules: functions from the step to a value, given to an optimizer as its learning rate.

The step is an integer scalar array (an ``int`` will do); so that a compiled step can evaluate them,
schedules branch with ``mx.where`` and never on the step's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lazuli.core as mx

__all__ = ["cosine_decay", "exponential_decay", "join_schedules", "linear_schedule", "step_decay"]

Schedule = Callable[[Any], Any]


def exponential_decay(init: float, decay_rate: float) -> Schedule:
    """init · decay_rate ^ step.

    Example:
        >>> optimizer = optim.SGD(learning_rate=optim.exponential_decay(0.5, 0.5))
        >>> for _ in range(3):
        ...     _ = optimizer.update({}, {})
        >>> optimizer.learning_rate
        array(0.125, dtype=float32)
    """
    return lambda step: init * decay_rate**step


def step_decay(init: float, decay_rate: float, step_size: int) -> Schedule:
    """init · decay_rate ^ ⌊step / step_size⌋."""
    return lambda step: init * decay_rate ** (step // step_size)


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Schedule:
    """From ``init`` to ``end`` along half a cosine in ``decay_steps`` steps, then constant.

    Loshchilov and Hutter, arXiv:1608.03983.
    """

    def schedule(step: Any) -> mx.array:
        done = mx.minimum(step, decay_steps) / decay_steps
        return end + 0.5 * (init - end) * (1.0 + mx.cos(math.pi * done))

    return schedule


def linear_schedule(init: float, end: float, steps: int) -> Schedule:
    """From ``init`` to ``end`` along a line in ``steps`` steps, then constant.

    Raises:
        ValueError: ``steps`` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"[linear_schedule] steps must be at least 1, got {steps}")
    return lambda step: init + (end - init) / steps * mx.minimum(step, steps)


def join_schedules(schedules: list[Schedule], boundaries: list[int]) -> Schedule:
    """One schedule after the other.

    Args:
        schedules: the schedules; each gets the steps since its own beginning.
        boundaries: the step at which each but the first begins, increasing.

    Raises:
        ValueError: there is no schedule, or not one boundary fewer than schedules.

    Example:
        >>> warmup, decay = optim.linear_schedule(0, 0.1, 10), optim.cosine_decay(0.1, 200)
        >>> schedule = optim.join_schedules([warmup, decay], [10])
        >>> schedule(mx.array(5))
        array(0.05, dtype=float32)
    """
    if not schedules:
        raise ValueError("[join_schedules] at least one schedule is needed")
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"[join_schedules] {len(schedules)} schedules need {len(schedules) - 1} boundaries, "
            f"got {len(boundaries)}"
        )

    def schedule(step: Any) -> Any:
        value = schedules[0](step)
        for boundary, later in zip(boundaries, schedules[1:]):
            # Unsigned steps wrap before the boundary; what comes of that is not chosen.
            value = mx.where(step < boundary, value, later(step - boundary))
        return value

    return schedule
