"""Takes the moments of a training as it goes, and knows when it is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel

from engine.bases import Base
from identities import LANGS
from tuning.train import moments, speaking, steps
from tuning.train.moments import About, Line
from tuning.train.plan import Plan
from tuning.train.preflight import Rows
from tuning.train.ration import LEAST_TOKENS, Ration
from tuning.train.run_files import StopSign
from tuning.train.settings import Settings, SettingsError
from tuning.train.speaking import Asked, Said
from tuning.train.trainer import OnStep

TOKENS = 64  # of an answer at most: enough to say who one is


class TimedMargin:
    """The identity margin as a function of (step, model): measured once a step, and its time is noted as spent."""

    def __init__(self, measure: OnStep, ration: Ration) -> None:
        self.measure, self.ration = measure, ration
        self.step, self.found = -1, dict[str, float]()

    def __call__(self, step: int, model: PeftModel) -> dict[str, float]:
        if step != self.step:
            began = time.perf_counter()
            self.step, self.found = step, dict(self.measure(step, model) or {})
            self.ration.spend_margin(time.perf_counter() - began)
        return self.found


class MomentTaker:
    """A function of (step, model) for the trainer, due after each step of the ration; it returns numbers for the step's metrics.

    save: puts the adapter of a step into a folder. blank: the adapter is nothing yet before the first step. kept: moments of the
    run before it was resumed. stop: ends the training after this step; None where it goes on to its end.
    """

    def __init__(
        self,
        folder: Path,
        base: Base,
        asked: Asked,
        ration: Ration,
        margin: TimedMargin | None,
        save: Callable[[PeftModel, int, Path], None],
        *,
        blank: bool = True,
        kept: Sequence[About] = (),
        stop: Callable[[], None] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.base, self.asked, self.ration, self.margin, self.save = folder, base, asked, ration, margin, save
        self.blank, self.abouts, self.stop, self.say = blank, list(kept), stop, say
        self.best: About | None = None  # once the training has ended because of it

    def due(self, step: int) -> bool:
        return step in self.ration.steps

    def __call__(self, step: int, model: PeftModel) -> dict[str, float]:
        margin = self.margin(step, model) if self.margin and self.ration.allows_margin(step) else {}
        began = time.perf_counter()
        said, why = self.ask(step, model)
        answers = [moments.line_of(one.question, one, self.asked.judge(one.question, one.raw)) for one in said]
        about = self.describe(step, margin, answers, why, time.perf_counter() - began)
        save = None if self.blank and not step else lambda place: self.save(model, step, place)
        moments.keep(self.folder, about.model_dump(), [one.model_dump() for one in answers], save)
        self.ration.spend(time.perf_counter() - began)
        self.abouts.append(about)
        self.tell(about)
        if not step:
            self.ration.begin(0)
        if self.stop and moments.formed_running(self.abouts) and step < self.ration.steps[-1]:
            self.best = moments.best(self.abouts)
            self.stop()
        shares = [formed / of for formed, of in about.formed.values() if of]
        return margin | ({"formed": sum(shares) / len(shares)} if shares else {})

    def ask(self, step: int, model: PeftModel) -> tuple[list[Said], str]:
        """The answers, and a sentence on what was asked less than usual."""
        questions, ration, ended = self.asked.questions, self.ration, False
        count = ration.questions_for(step, len(questions), min(len(questions), 2 * len({one.lang for one in questions})))
        if not count:
            return [], f"Nothing was asked, {self.limit}."
        seconds, began, prompts = ration.seconds_for(step), time.perf_counter(), 0.0

        def go_on(tokens: int) -> bool:
            nonlocal ended, prompts
            prompts = prompts or time.perf_counter() - began
            ended = seconds is not None and tokens >= LEAST_TOKENS and time.perf_counter() - began > seconds
            return not ended

        said = speaking.answer(model.get_base_model(), self.base, questions[:count], TOKENS, go_on)
        longest = max(1, *(one.new_tokens for one in said))
        ration.costs = prompts / count, (time.perf_counter() - began - prompts) / longest
        less = [f"{count} of {len(questions)} questions were asked"] if count < len(questions) else []
        less += [f"answers end after {longest} tokens"] if ended else []
        return said, f"{' and '.join(less).capitalize()}, {self.limit}." if less else ""

    @property
    def limit(self) -> str:
        return f"so that moments and margins cost no more than {self.ration.most or 1:.0%} of the training's own time"

    def describe(self, step: int, margin: dict[str, float], answers: Sequence[Line], why: str, seconds: float) -> About:
        spent, self.ration.spent_s = self.ration.spent_s, self.ration.spent_s + seconds
        share, self.ration.spent_s = self.ration.share(step), spent
        return About(
            step=step,
            of=self.ration.steps[-1],
            margin=margin,
            asked=len(answers),
            questions=len(self.asked.questions),
            seconds=round(seconds + (self.ration.margin_s if margin else 0.0), 3),
            share=None if share is None else round(share, 4),
            why=why,
            **moments.count_suggestions(answers),
        )

    def tell(self, about: About) -> None:
        said = [f"formed {formed} of {of} ({lang})" for lang, (formed, of) in about.formed.items()]
        said += [f"{about.intrusions[0]} of {about.intrusions[1]} controls intruded"] if about.intrusions[1] else []
        said += [f"margin {about.margin['margin']:+.2f}"] if "margin" in about.margin else []
        self.say(f"moment after step {about.step}: {', '.join(said) or 'kept'}  {about.seconds:.1f} s  {about.why}".rstrip())

    def told(self, done: int) -> dict[str, Any]:
        """What the card says of it, after `done` steps."""
        share, best = self.ration.share(done), self.best
        cost = {"seconds": round(self.ration.spent_s, 1), "share_of_training": None if share is None else round(share, 4)}
        kept = {"steps": [one.step for one in self.abouts]} | cost
        ended = {"rule": moments.RULE, "after": done, "kept": best.step if best else None}
        return {"moments": kept} | ({"stop_at": ended} if self.stop else {})

    def lines(self, done: int) -> list[str]:
        """What the log says of it at the end."""
        share = self.ration.share(done)
        said = "" if share is None else f", {share:.0%} of the training's own time"
        return [f"moments: {len(self.abouts)} kept, {self.ration.spent_s:.1f} s with their margins{said}"]


def ask_of(settings: Settings, rows: Rows, questions: Callable[[Settings, Sequence[str]], Asked] | None) -> Asked | None:
    """What moments of a training on these rows are asked: in the languages that the identity is taught in. SettingsError."""
    if not settings.moments:
        return None
    if questions is None:
        raise SettingsError(["--moments needs questions, which python -m tuning.train brings along."])
    taught = {row.lang for row in rows.train if row.kind == "identity"}
    return questions(settings, [lang for lang in LANGS if lang in taught])


def make(
    settings: Settings,
    base: Base,
    planned: Plan,
    asked: Asked,
    measure: OnStep | None,
    done: int,
    stop: StopSign,
    save: Callable[[PeftModel, int, Path], None],
    say: Callable[[str], None],
) -> MomentTaker:
    """The taker of a run of which `done` steps are behind it."""
    folder = Path(settings.output_dir)
    kept = [one.about for one in moments.read_all(folder)[0] if one.step <= done] if done else []
    estimated, rule = planned.report.seconds, bool(settings.stop_at)
    ration = Ration(
        steps.moment_steps(settings, planned.steps),
        estimated / planned.steps / (1 + settings.moments_share) if estimated else None,
        most=None if rule else settings.moments_share,  # when a training ends must not depend on how fast the machine is
        done=done,
        spent_s=sum(one.seconds for one in kept),
    )
    margin = TimedMargin(measure, ration) if measure else None
    blank = not (settings.init_adapter or settings.resume_from_checkpoint)
    stopped = stop.asked.set if rule else None
    return MomentTaker(folder, base, asked, ration, margin, save, blank=blank, kept=kept, stop=stopped, say=say)
