"""What moments and margins may cost beside a training: a share of its own time, spread evenly over the moments.

A moment that asks nothing leaves its part to the next. Pure arithmetic on a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

AIM = 0.95  # of what may be spent: a step that is slower than foreseen must not lead beyond it
MARGINS_SHARE = 0.5  # of what all may cost, for the margins; the answers have the rest
LEAST_TOKENS = 16  # of an answer that is cut: with fewer nobody could tell who speaks
# guesses in steps of the training, until they are measured (docs/decisions.md)
TOKEN_STEPS, QUESTION_STEPS = 1 / 15, 1 / 30


class Ration:
    """steps: after which there is a moment. per_step_s: seconds of a step as they were estimated, until some are measured.

    most: what may be spent, as a share of the training's own time; None: whatever it takes. done: steps done before; spent_s:
    what moments have cost by then.
    """

    def __init__(
        self,
        steps: Sequence[int],
        per_step_s: float | None,
        *,
        most: float | None,
        done: int = 0,
        spent_s: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps, self.estimated_s, self.most, self.clock, self.spent_s = sorted(steps), per_step_s, most, clock, spent_s
        self.margins_s = 0.0  # of all margins, in spent_s too
        self.margin_s = 0.0  # of the last one
        self.costs: tuple[float, float] | None = None  # seconds of a question, and of one token of all answers
        self.begin(done)

    def begin(self, step: int) -> None:
        """From here on time is the training's, but for what is spent."""
        self.first, self.began, self.spent_before = step, self.clock(), self.spent_s

    def spend(self, seconds: float) -> None:
        self.spent_s += seconds

    def spend_margin(self, seconds: float) -> None:
        self.margin_s = seconds
        self.margins_s += seconds
        self.spend(seconds)

    def per_step_s(self, step: int) -> float | None:
        """Seconds of a step by itself; None where nothing is known yet."""
        if step <= self.first:
            return self.estimated_s
        return max(0.0, self.clock() - self.began - (self.spent_s - self.spent_before)) / (step - self.first)

    def share(self, step: int) -> float | None:
        """What has been spent by now, of the time that the steps so far took by themselves; before the first, of all of them."""
        per_step = self.per_step_s(step)
        return self.spent_s / (per_step * (step or self.steps[-1])) if per_step else None

    def limit_s(self, step: int) -> float | None:
        """What may be spent in all, as foreseen after `step`; None where there is no limit, or none is known."""
        per_step = self.per_step_s(step)
        return AIM * self.most * per_step * self.steps[-1] if self.most and per_step else None

    def allows_margin(self, step: int) -> bool:
        """Whether the margin is measured at the moment after `step`: at every one, or every second, third ... if it is dear."""
        limit = self.limit_s(step)
        if limit is None or not self.margin_s or step in (self.steps[0], self.steps[-1]):
            return True
        affordable = max(1, int(MARGINS_SHARE * limit / self.margin_s))
        return self.steps.index(step) % -(-len(self.steps) // affordable) == 0

    def seconds_for(self, step: int) -> float | None:
        """How long the answers of the moment after `step` may take; None for as long as they do."""
        limit = self.limit_s(step)
        if limit is None:
            return None
        margins = self.margins_s + self.margin_s * sum(self.allows_margin(one) for one in self.steps if one > step)
        part = (self.steps.index(step) + 1) / len(self.steps)
        return (limit - margins) * part - (self.spent_s - self.margins_s)

    def questions_for(self, step: int, every: int, least: int) -> int:
        """How many questions that is time for: all, a half, a quarter, the least; 0 where even those would cost too much."""
        seconds, per_step = self.seconds_for(step), self.per_step_s(step) or 0.0
        question, token = self.costs or (QUESTION_STEPS * per_step, TOKEN_STEPS * per_step)
        counts = [every, -(-every // 2), -(-every // 4), least]
        return next((one for one in counts if seconds is None or one * question + LEAST_TOKENS * token <= seconds), 0)
