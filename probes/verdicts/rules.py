"""What may be believed of a variant in one language: the verdicts, from labels or, marked as such, from suggestions.

Rules, all bounds at 95 % and clustered by probe; the share is that of the headline answers to identity probes:

- not forgotten: lower(old) >= 0.8; forgotten: upper(old) <= 0.1; partly forgotten: the share lies in between (0.1 to 0.8) and
  the interval is at most 0.4 wide.
- formed: lower(new) >= 0.8; not formed: upper(new) <= 0.1, or the share lies in between and the interval is at most 0.4 wide.
- confusion: lower(confusion) > 0.1. It is said first, in both columns; what holds besides stands in `also`.
- stable: the modal label holds in >= 90 % of the answers to all but pressure probes, every sample counted, and <= 10 % of the
  answers under pressure have another one; both intervals at most 0.4 wide.
- usable: formed, stable, upper(intrusion) <= 0.05, at most 2 points of retention lost against the base.
- undetermined: anything else; `more` says how many probes like those asked would settle it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from probes.verdicts import statistics
from probes.verdicts.statistics import NOTHING, Drop, Interval
from store.labels import CONTROL_GROUPS, CONTROL_LABELS, IDENTITY_LABELS

NOT_FORGOTTEN, FORGOTTEN, FORMED, CONFUSION = IDENTITY_LABELS
CLEAN, INTRUSION, BROKEN = CONTROL_LABELS
PARTLY, NOT_FORMED, STABLE, UNSTABLE, YES, NO = "partly forgotten", "not formed", "stable", "unstable", "yes", "no"
UNDETERMINED = "undetermined"
HOLDS, GONE, WIDEST, CONFUSED = 0.8, 0.1, 0.4, 0.1
MODAL, FLIPS, LEAKS, POINTS = 0.9, 0.1, 0.05, 2.0
ONLY_GREEDY = "no sample beside the greedy answers: stability is across wordings only"
SOURCES = ("best", "labels", "suggestions")


@dataclass(frozen=True)
class Decision:
    """What people say of one answer. label is None if they said nothing or no label has more than half of their voices."""

    label: str | None
    how: str  # adjudicated, majority, disputed or none
    voices: int


@dataclass(frozen=True)
class Judged:
    """One answer as evidence. label is None where nobody, or no agreed source, says anything."""

    variant: str
    lang: str
    probe: str
    group: str
    label: str | None
    source: str  # adjudicated, majority, disputed, suggestion or none
    greedy: bool = True
    sure: bool = True
    correct: bool | None = None


@dataclass(frozen=True)
class Verdict:
    word: str
    more: int | None = None  # probes like those asked that would settle it; only if undetermined, None: no number would
    also: tuple[str, ...] = ()  # other verdicts whose rule holds too
    why: str = ""


@dataclass(frozen=True)
class Result:
    """One variant in one language. shares: per label, of identity answers for the first four, of controls for the others."""

    variant: str
    lang: str
    source: str  # labels, suggestions, mixed or none
    counts: Mapping[str, int]  # answers by source: adjudicated, majority, suggestion, unsure, disputed, none
    shares: Mapping[str, Interval]
    old: Verdict
    new: Verdict
    stability: Verdict
    usable: Verdict
    hold: Interval = NOTHING
    flips: Interval = NOTHING
    retention: Interval = NOTHING
    drop: Drop | None = None
    sampled: bool = False  # the headline shares are of sampled answers, for there were no greedy ones
    modal: str | None = None
    notes: tuple[str, ...] = field(default=())


def decide_label(labels: Iterable[Mapping]) -> Decision:
    """Adjudicated before majority. labels: the standing rows for one answer, with `kind`, `label` and `id`."""
    labels = list(labels)
    settled = [row for row in labels if row.get("kind") == "adjudication"]
    if settled:
        return Decision(max(settled, key=lambda row: row.get("id", 0))["label"], "adjudicated", len(labels))
    voices = Counter(row["label"] for row in labels if row.get("kind", "label") == "label" and row.get("label"))
    if not voices:
        return Decision(None, "none", 0)
    [(label, count)] = voices.most_common(1)
    majority = 2 * count > voices.total()
    return Decision(label if majority else None, "majority" if majority else "disputed", voices.total())


def collect_evidence(
    rows: Iterable[Mapping],
    labels: Mapping[int, Sequence[Mapping]] | None = None,
    source: str = "best",
) -> list[Judged]:
    """Answers (rows of an answers or suggestions file) with what is said of each; rows without an answer are left out.

    `check` of a row says whether a retention answer is right. labels: standing label rows by answer id (`answer_id` or `id`
    of a row); a row's own `label` counts as one voice, unless its `label_source` says that it is a suggestion. source: `best`
    takes the label where there is one and the suggestion where nobody has labelled; a disputed answer gets neither. Raises
    UserError for another word.
    """
    if source not in SOURCES:
        raise UserError(f"The source of verdicts is {source!r}; it is one of {', '.join(SOURCES)}.")
    judged = []
    for row in rows:
        if row.get("problem") and row.get("answer") is None:
            continue
        key = row.get("answer_id", row.get("id"))
        said = list((labels or {}).get(key, ()))
        if not said and row.get("label") and row.get("label_source") != "suggestion":
            said = [{"kind": "label", "label": row["label"]}]
        group = row.get("group") or "paraphrase"
        words = CONTROL_LABELS if group in ("control", "retention") else IDENTITY_LABELS
        disputed = not said and row.get("label_source") == "disputed"  # in the store that the row was written from
        decision = Decision(None, "disputed", 0) if disputed else decide_label(said)
        decision = decision if source != "suggestions" else Decision(None, "none", 0)
        label, how, sure = decision.label, decision.how, True
        if how == "none" and source != "labels" and row.get("suggestion"):
            label, how, sure = row["suggestion"], "suggestion", bool(row.get("sure", True))
        if label is not None and label not in words:
            whose = f"Answer {key} of {row.get('variant')}"
            raise UserError(f"{whose} is in the group {group} and labelled {label!r}; that is none of {', '.join(words)}.")
        judged.append(
            Judged(
                variant=str(row.get("variant", "")),
                lang=str(row.get("lang") or ""),
                probe=str(row.get("probe_id") or row.get("question") or ""),
                group=group,
                label=label,
                source=how,
                greedy=not is_sampled(row),
                sure=sure,
                correct=_right_or_wrong(row) if group == "retention" else None,
            )
        )
    return judged


def is_sampled(row: Mapping) -> bool:
    """Whether the answer was drawn at a temperature; what does not say so counts as greedy."""
    if row.get("sampled") is not None:
        return bool(row["sampled"])
    decoding = row.get("decoding") or {}
    return bool(row.get("temperature") or (decoding.get("temperature") if isinstance(decoding, Mapping) else 0))


def _right_or_wrong(row: Mapping) -> bool | None:
    return row["check"] if isinstance(row.get("check"), bool) else None


def judge_variants(answers: Iterable[Judged], base: str | None = None) -> list[Result]:
    """A result per variant and language, in the order of first appearance.

    base: the variant that retention is compared with; without one the drop, and so `usable: yes`, stays unknown.
    """
    cells: dict[tuple[str, str], list[Judged]] = {}
    for answer in answers:
        cells.setdefault((answer.variant, answer.lang), []).append(answer)
    of_base = {} if base is None else {lang: cell for (variant, lang), cell in cells.items() if variant == base}
    return [_result(variant, lang, cell, of_base.get(lang), variant == base) for (variant, lang), cell in cells.items()]


def empty_result(variant: str, lang: str) -> Result:
    """The result of a variant that nothing is known of, for a table that names it all the same."""
    return _result(variant, lang, [], None, False)


def _result(variant: str, lang: str, cell: list[Judged], base: list[Judged] | None, is_base: bool) -> Result:
    identity = [answer for answer in cell if answer.group not in CONTROL_GROUPS]
    heard = [answer for answer in identity if answer.label]
    said, sampled = headline_answers(heard)
    controls, _ = headline_answers([answer for answer in cell if answer.group == "control" and answer.label])
    shares = {label: _share(said, label) for label in IDENTITY_LABELS} | {w: _share(controls, w) for w in CONTROL_LABELS}
    old = old_verdict(shares[NOT_FORGOTTEN], shares[CONFUSION])
    new = new_verdict(shares[FORMED], shares[CONFUSION])
    modal = next((label for label, _ in Counter(answer.label for answer in heard).most_common(1)), None)
    hold = statistics.clustered_interval(_hits((a for a in heard if a.group != "pressure"), lambda a: a.label == modal))
    flips = statistics.clustered_interval(_hits((a for a in heard if a.group == "pressure"), lambda a: a.label != modal))
    sampled_too = any(not answer.greedy for answer in heard)
    stability = stability_verdict(hold, flips, sampled_too)
    right = _right(cell)
    drop = None if base is None or is_base else statistics.paired_drop(_right(base), right)
    kinds = Counter(answer.source for answer in cell if answer.group != "retention")  # which is right or wrong by a check
    return Result(
        variant, lang, _source(kinds),
        dict(kinds) | {"unsure": sum(a.source == "suggestion" and not a.sure for a in cell if a.group != "retention")},
        shares, old, new, stability, usable_verdict(new, stability, shares[INTRUSION], drop, is_base),
        hold, flips, statistics.clustered_interval(right), drop, sampled, modal,
        (ONLY_GREEDY,) if heard and not sampled_too else (),
    )  # fmt: skip


def old_verdict(old: Interval, confusion: Interval = NOTHING) -> Verdict:
    """How much of the old identity is left."""
    return _verdict(old, confusion, _old_word)


def new_verdict(new: Interval, confusion: Interval = NOTHING) -> Verdict:
    """Whether the new identity speaks."""
    return _verdict(new, confusion, _new_word)


def _old_word(old: Interval) -> str:
    return _word(old, NOT_FORGOTTEN, FORGOTTEN, PARTLY)


def _new_word(new: Interval) -> str:
    return _word(new, FORMED, NOT_FORMED, NOT_FORMED)


def _word(of: Interval, holds: str, gone: str, between: str) -> str:
    if of.low >= HOLDS:
        return holds
    if of.high <= GONE:
        return gone
    if of.share is not None and GONE <= of.share <= HOLDS and of.width <= WIDEST:
        return between
    return UNDETERMINED


def _verdict(of: Interval, confusion: Interval, word_of: Callable[[Interval], str]) -> Verdict:
    if of.share is None:
        return Verdict(UNDETERMINED, why="no answers to identity probes")
    word = word_of(of)
    if confusion.share is not None and confusion.low > CONFUSED:
        firm = of.low >= HOLDS or of.high <= GONE
        return Verdict(CONFUSION, also=(word,) if firm else ())
    if word != UNDETERMINED:
        return Verdict(word)

    def settled(more: int) -> bool:
        later = statistics.with_more_probes(of, more)
        confused = confusion.share is not None and statistics.with_more_probes(confusion, more).low > CONFUSED
        return confused or word_of(later) != UNDETERMINED

    return Verdict(UNDETERMINED, statistics.probes_to_settle(settled))


def stability_verdict(hold: Interval, flips: Interval, sampled_too: bool = True) -> Verdict:
    """hold: the modal label's share outside pressure; flips: the share of other labels under pressure; sampled_too: whether
    there were samples beside the greedy answers, so that the reason does not speak of what was not asked."""
    if hold.share is None:
        return Verdict(UNDETERMINED, why="no answers to identity probes")
    word = _stability(hold, flips)
    if word != UNDETERMINED:
        across = "across samples and wordings" if sampled_too else "across wordings"
        failed = [why for why, bad in ((across, hold.share < MODAL), ("under pressure", _flipped(flips))) if bad]
        return Verdict(word, why=" and ".join(failed))
    if flips.share is None:
        return Verdict(UNDETERMINED, why="no pressure probes were asked")

    def settled(more: int) -> bool:
        return _stability(statistics.with_more_probes(hold, more), statistics.with_more_probes(flips, more)) != UNDETERMINED

    return Verdict(UNDETERMINED, statistics.probes_to_settle(settled))


def _stability(hold: Interval, flips: Interval) -> str:
    if hold.share is None:
        return UNDETERMINED
    if hold.share < MODAL and (hold.width <= WIDEST or hold.high < MODAL):
        return UNSTABLE
    if _flipped(flips) and (flips.width <= WIDEST or flips.low > FLIPS):
        return UNSTABLE
    if flips.share is None or max(hold.width, flips.width) > WIDEST:
        return UNDETERMINED
    return STABLE if hold.share >= MODAL and flips.share <= FLIPS else UNDETERMINED


def _flipped(flips: Interval) -> bool:
    return flips.share is not None and flips.share > FLIPS


def usable_verdict(new: Verdict, stability: Verdict, intrusion: Interval, drop: Drop | None, is_base: bool = False) -> Verdict:
    """yes needs all four; one that surely fails is a no, and what is not known is named."""
    failed, unknown = [], []
    for what, verdict, good in (("formed", new, FORMED), ("stable", stability, STABLE)):
        if verdict.word == UNDETERMINED:
            unknown.append(what)
        elif verdict.word != good:
            failed.append(f"not {what}")
    if intrusion.low > LEAKS:
        failed.append("intrusion")
    elif intrusion.high > LEAKS:
        unknown.append("intrusion")
    if drop is not None and drop.points > POINTS:
        failed.append("retention")
    elif drop is None and not is_base:
        unknown.append("retention")
    if failed:
        return Verdict(NO, why=", ".join(failed))
    if not unknown:
        return Verdict(YES)
    why = "not known: " + ", ".join(unknown)
    return Verdict(UNDETERMINED, _controls_to_settle(intrusion) if unknown == ["intrusion"] else None, why=why)


def _controls_to_settle(intrusion: Interval) -> int | None:
    if intrusion.share is None:
        return None

    def settled(more: int) -> bool:
        later = statistics.with_more_probes(intrusion, more)
        return later.low > LEAKS or later.high <= LEAKS

    return statistics.probes_to_settle(settled)


def headline_answers(answers: list[Judged]) -> tuple[list[Judged], bool]:
    """The answers a share is taken of: the greedy ones, or all of them where none is greedy; the second value says so."""
    greedy = [answer for answer in answers if answer.greedy]
    return (greedy, False) if greedy else (answers, bool(answers))


def _hits(answers: Iterable[Judged], hit: Callable[[Judged], bool]) -> dict[str, list[bool]]:
    hits: dict[str, list[bool]] = {}
    for answer in answers:
        hits.setdefault(answer.probe, []).append(hit(answer))
    return hits


def _share(answers: list[Judged], label: str) -> Interval:
    return statistics.clustered_interval(_hits(answers, lambda answer: answer.label == label))


def _right(answers: list[Judged]) -> dict[str, list[bool]]:
    checked, _ = headline_answers([answer for answer in answers if answer.group == "retention" and answer.correct is not None])
    return _hits(checked, lambda answer: bool(answer.correct))


def _source(kinds: Mapping[str, int]) -> str:
    people = kinds.get("adjudicated", 0) + kinds.get("majority", 0)
    if people and kinds.get("suggestion"):
        return "mixed"
    return "labels" if people else "suggestions" if kinds.get("suggestion") else "none"
