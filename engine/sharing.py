"""One running batch for all who ask: which rows take part, and who is told what.

Whose row is next, `engine.fairness` says. Rows that are set aside for others keep all that is computed of them, and go on as
soon as there is room. And whoever comes in the middle of a pass of the model gets the first token between two of its layers
(`Loop.glance`), however long that pass is.

What a row says does not depend on any of this: each has its own keys and values, mask, decoding and random numbers.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from math import inf

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.bank import Bank
from engine.decode import Batch, Part, Row, finish, group_by_length, settle
from engine.fairness import AT_ONCE, Ask, claims, in_order, victim
from engine.kept import Kept
from engine.memory import is_out_of_memory
from engine.prefixes import own_length, recall, share_prefixes

PASS = 512  # tokens of prompts computed in one pass, and then the others have a step: a page of text is not held up by a crowd's


class Loop:
    """Asks, and the batch that answers them. Whoever calls `turn` holds the engine's lock; `add` may be called by anybody.

    slots: the longest row in tokens -> rows decoded at once. problem: an error and the rows it came with -> what their askers
    are given. kept: what is computed of those that end, for later turns; None: nothing is.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        bank: Bank,
        slots: Callable[[int], int],
        problem: Callable[[Exception, Sequence[Row]], Exception] = lambda error, _rows: error,
        kept: Kept | None = None,
    ) -> None:
        self.tokenizer, self.bank, self.slots, self.problem = tokenizer, bank, slots, problem
        self.batch = Batch(model, bank, kept)
        self.arrivals: deque[Ask] = deque()
        self.asks: list[Ask] = []  # in the order in which they came
        self.of: dict[Row, Ask] = {}  # whose the rows in the batch are, and those on their way into it
        self.most: float = PASS
        self.count = 0  # rows that have begun
        self.served: dict[Hashable, int] = {}  # and which of them was the last of an owner's
        self.filled = False  # whether the last pass computed prompts
        self.squeezed: int | None = 0  # rows computed in the middle of this pass; None where there must be no more

    def add(self, ask: Ask) -> None:
        self.arrivals.append(ask)

    @property
    def busy(self) -> bool:
        return bool(self.arrivals or self.asks)

    def hears(self, adapter: str | None) -> bool:
        """Whether a row that has begun hears this adapter; None: whether any row has begun."""
        begun = [*self.batch.rows, *(part.rows[0] for ask in self.asks for part in ask.aside)]
        return any(adapter is None or adapter in row.adapters for row in begun)

    def turn(self) -> None:
        """One pass of the model: the prompts of some rows, or one more token for every row in the batch."""
        self.squeezed = 0
        self.receive()
        self.let_go()
        by_turns = self.filled and self.batch.rows  # nobody stands still while a crowd comes in
        picked, displaced = ([], []) if by_turns else self.picked()
        self.filled = bool(picked)
        if picked:
            self.fill(picked, displaced)
        elif self.batch.rows:
            self.guarded(self.step, self.batch.rows)
        if not self.batch.rows:
            self.bank.silence()

    # who comes and goes

    def receive(self) -> list[Ask]:
        """Those who have come since the last look."""
        came = []
        while self.arrivals:
            ask = self.arrivals[0]
            try:
                if self.batch.ready_mask:
                    share_prefixes(ask.rows)
                ask.waiting = deque(sorted(ask.rows, key=own_length, reverse=True))  # alike lengths meet: little padding
            finally:  # it is always in one of the two: else the computing thread might leave in this very moment
                ask.served = self.count
                self.served.setdefault(ask.owner, self.count)  # not 0: those who come later are not before those who wait
                self.asks.append(ask)
                self.arrivals.popleft()
            came.append(ask)
            if not ask.rows:
                self.close(ask, None)
        return came

    def let_go(self) -> None:
        """Those whose asker has left, or wants no more of it."""
        for ask in [ask for ask in self.asks if ask.stop.is_set()]:
            stopped = [row for row in ask.rows if row.finish is None]
            for row in stopped:
                finish(row, "stopped", row.text)
            self.tell({ask: stopped})
            self.close(ask, None)
        self.batch.leave()

    def close(self, ask: Ask, error: BaseException | None) -> None:
        """It is over, whatever of it is still in the batch; those rows leave with the next `Batch.leave`."""
        if ask not in self.asks:
            return
        self.asks.remove(ask)
        if not any(other.owner == ask.owner for other in self.asks):
            del self.served[ask.owner]
        for row in ask.rows:
            self.of.pop(row, None)
            if row.finish is None:
                finish(row, "stopped", row.text)
        ask.waiting.clear()
        ask.aside.clear()
        ask.ended(error)

    def end(self, error: Exception) -> None:
        """All of them are given this error."""
        self.receive()
        for ask in list(self.asks):
            self.close(ask, error)
        self.batch.leave()
        self.bank.silence()

    # whose turn it is

    def picked(self, newcomers: Sequence[Ask] | None = None, most: float = inf) -> tuple[list[Row | Part], list[Row]]:
        """What joins the batch next, in fair order, and the rows that are set aside for it.

        newcomers: only of these, and only what need not wait for a free place and is no long text.
        """
        picked: list[Row | Part] = []
        displaced: list[Row] = []
        tokens, ample = 0, None
        longest = max(map(longest_reach, self.of), default=0)
        while len(picked) < most and (ask := self.next_ask(newcomers)):
            one = ask.aside[0] if ask.aside else ask.waiting[0]
            if isinstance(one, Row):  # not earlier: what it waits with, it holds
                recall(one, self.batch.kept)
            row, cost = (one.rows[0], 0) if isinstance(one, Part) else (one, own_length(one))
            longest = max(longest, longest_reach(row))
            slots, claimed = self.slots(longest), claims(ask, self.asks)
            inside = sum(other.inside for other in self.asks)
            free = slots - inside
            if ample is None:  # a pass for prompts halts everybody, so those without a claim come in groups
                wanted = sum(len(other.waiting) + len(other.aside) for other in self.asks)
                ample = not inside or free >= min(wanted, max(1, slots // 4))
            leaving = victim(ask, self.asks, self.staying(displaced), self.of) if claimed and free == 0 else None
            if not leaving and not (free > 0 and (claimed or ample)):
                break
            if (newcomers and not claimed) or ((newcomers or picked) and tokens + cost > self.most):
                break
            if not isinstance(one, Part) and not self.allowed(ask):  # what has begun is answered to its end
                continue
            if leaving:
                displaced.append(leaving)
                self.of[leaving].inside -= 1
            (ask.aside if isinstance(one, Part) else ask.waiting).popleft()
            ask.inside, ask.begun, self.of[row] = ask.inside + 1, True, ask
            self.count += 1
            ask.served = self.served[ask.owner] = self.count
            picked.append(one)
            tokens += cost
        if not newcomers:
            self.tell_places()
        return picked, displaced

    def staying(self, displaced: Sequence[Row]) -> list[Row]:
        return [row for row in self.batch.rows if row in self.of and row not in displaced]

    def next_ask(self, among: Sequence[Ask] | None) -> Ask | None:
        """The ask whose next row is to begin first."""
        ordered = in_order(self.asks, self.served)
        return next((ask for ask in ordered if ask.wants and (among is None or ask in among)), None)

    def allowed(self, ask: Ask) -> bool:
        try:
            ask.check()
        except Exception as error:
            self.close(ask, error)
            self.batch.leave()
            return False
        return True

    def tell_places(self) -> None:
        unbegun = [ask for ask in in_order(self.asks, self.served) if not ask.begun]
        for before, ask in enumerate(unbegun, 1):  # 1: somebody has to finish first
            if ask.before != before:
                ask.before = before
                ask.placed(before)

    # what is computed

    def guarded(self, act: Callable[[], None], rows: Sequence[Row]) -> None:
        """Does it; a failure ends the asks of these rows, and what is left of the batch goes on if it is whole."""
        try:
            act()
            return
        except Exception as error:
            failed, concerned = self.problem(error, rows), list(dict.fromkeys(self.of[row] for row in rows if row in self.of))
            short = is_out_of_memory(error)
        # outside the except block: the traceback would keep the batch's tensors alive
        self.bank.silence()  # before anybody is told: who is may look
        for ask in concerned:
            self.close(ask, failed)
        self.batch.leave()
        if short:
            self.batch.kept.clear()
        self.batch.forget_graphs()
        gc.collect()
        if self.batch.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def fill(self, picked: list[Row | Part], displaced: list[Row]) -> None:
        """The prompts of those who join, in groups of like length; then they join, and the displaced are set aside."""
        parts = [one for one in picked if isinstance(one, Part)]
        for group in group_by_length([one for one in picked if isinstance(one, Row)]):
            self.guarded(partial(self.prompt, group, parts), group)
        everybody = [*self.batch.rows, *(row for part in parts for row in part.rows)]
        self.guarded(lambda: self.seat(parts, displaced), everybody)

    def prompt(self, group: list[Row], parts: list[Part]) -> None:
        group = [row for row in group if row in self.of]  # the failure of another group may have ended some
        if not group:
            return
        part = self.batch.prefill(group)
        self.settle(group)
        self.batch.keep_ended(part)
        if (left := part.going_on()).rows:
            parts.append(left)

    def seat(self, parts: list[Part], displaced: list[Row]) -> None:
        leaving = [row for row in displaced if row.finish is None]
        for part in self.batch.set_aside(leaving) if leaving else ():
            self.of.pop(part.rows[0]).aside.append(part)
        self.batch.join(parts)
        self.batch.leave()

    def step(self) -> None:
        self.batch.step()
        self.settle(self.batch.rows)
        self.batch.leave()

    def settle(self, rows: Sequence[Row]) -> None:
        """Tokens to text, news to the askers; those who have all they asked for are done."""
        news: dict[Ask, list[Row]] = {}
        for row in rows:
            settle(row, self.tokenizer)
            news.setdefault(self.of[row], []).append(row)
            if row.finish is not None:
                self.of.pop(row).inside -= 1
        self.tell(news)

    def tell(self, news: dict[Ask, list[Row]]) -> None:
        for ask, rows in news.items():
            try:
                ask.tell(rows)
            except Exception as error:  # this ask's own affair
                self.close(ask, error)
            if not ask.wants and not ask.inside:
                self.close(ask, None)

    def watch(self) -> None:
        """From now on there is a glance before every layer of every pass."""
        for layer in layers(self.batch.model):
            layer.register_forward_pre_hook(lambda *_: self.glance())

    def glance(self) -> None:
        """Between two layers of a pass, whoever's it is: the first tokens of those who came since, if they have a claim.

        They are set aside then and join the batch after the pass.
        """
        if not self.arrivals or self.squeezed is None or self.squeezed >= AT_ONCE:
            return
        heard, squeezed = self.bank.heard, self.squeezed
        self.squeezed = None  # this pass has layers, too
        newcomers = self.receive()
        picked, displaced = self.picked(newcomers, AT_ONCE - squeezed) if newcomers else ([], [])
        rows = [one for one in picked if isinstance(one, Row)]  # all of them: newcomers have nothing aside
        for row in displaced:  # not now: their batch is at work
            self.of[row].inside += 1
        parts: list[Part] = []
        for group in group_by_length(rows):
            self.guarded(partial(self.prompt, group, parts), group)
        self.guarded(lambda: self.hold(parts), rows)
        if heard is None:
            self.bank.silence()
        else:
            self.bank.hear(heard)
        self.squeezed = squeezed + len(rows)

    def hold(self, parts: Sequence[Part]) -> None:
        """Sets them aside row by row, to join the batch when there is a turn for it."""
        for part in (one for whole in parts for one in whole.single()):
            if ask := self.of.pop(part.rows[0], None):
                ask.inside -= 1
                ask.aside.append(part)


def longest_reach(row: Row) -> int:
    """Tokens that it may come to."""
    return len(row.ids) + row.max_new_tokens


def layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    count = model.config.get_text_config().num_hidden_layers
    stacks = (module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    return next(stacks, ())


def run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    bank: Bank,
    rows: Sequence[Row],
    *,
    slots: int,
    stop: threading.Event,
) -> Iterator[list[Row]]:
    """Decode all rows, at most `slots` at a time, with nobody else there; after every step yield the rows that have news."""
    news: list[list[Row]] = []
    over: list[BaseException | None] = []
    loop = Loop(model, tokenizer, bank, lambda _longest: slots)
    loop.most = inf
    loop.add(Ask(rows, None, stop, tell=news.append, ended=over.append))
    try:
        while not over:
            loop.turn()
            yield from news
            news.clear()
        if over[0]:
            raise over[0]
    finally:
        bank.silence()
