"""What people chose, as rows for training: pairs of a chosen and a rejected answer (DPO), and good answers (SFT).

    python -m probes.training_rows --run 3 --out runs/preferences
    python -m probes.training_rows --queue 1 --queue 2 --good "not forgotten" --good clean --out DIR

From votes and labels of people alone; suggestions teach nothing. Files: dpo.jsonl and sft.jsonl as TRL reads them (`prompt`,
`chosen`, `rejected`; `messages`), dpo-llama-factory.jsonl for LLaMA-Factory, whose dataset_info.json describes it and sft.jsonl.
Without --run and --queue it is about all of the database. An identity that answers were given under as a prompt stands in no row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from sqlite_utils import Database

import store
from common import ending, files
from common.errors import UserError
from engine.thoughts import split_thoughts
from probes.verdicts.rules import CLEAN, FORMED, decide_label
from store.db import connected
from store.labels import CONTROL_LABELS, IDENTITY_LABELS, LABELS

DATABASE = Path(__file__).parents[1] / "runs" / "mirror.db"
GOOD = (FORMED, CLEAN)
DPO, SFT, FACTORY, INFO = "dpo.jsonl", "sft.jsonl", "dpo-llama-factory.jsonl", "dataset_info.json"
# why something is in no row, in the order in which it is told
LEFT_OUT = ("undecided", "disputed", "held_out", "unfinished", "empty", "other_turns", "same_text", "alone")
WHY = {
    "undecided": "pairs of answers of which neither got more than half of the votes",
    "disputed": "answers on which those who labelled are divided",
    "held_out": "answers to probes that are held out",
    "unfinished": "answers that were cut off or stopped",
    "empty": "answers without a word",
    "other_turns": "pairs whose conversations differ before the question",
    "same_text": "pairs of the same words",
    "alone": "labelled answers without one of the other kind to the same question (they make no pair)",
}


@dataclass(frozen=True)
class Answer:
    """turns: what was said before it, role and content. text: what was said, thoughts taken out; "" where it is of no use."""

    id: int
    turns: tuple[tuple[str, str], ...]
    text: str
    unfinished: bool
    prompted: bool


@dataclass
class TrainingRows:
    """pairs: `prompt`, `chosen`, `rejected`, each a list of messages; answers: `messages`. Both with `source`: vote or label.
    left_out: by the reasons of LEFT_OUT. probes: how many rows ask a probe. prompted: how many come from an answer that was given
    under an identity as a prompt."""

    pairs: list[dict] = field(default_factory=list)
    answers: list[dict] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    probes: int = 0
    prompted: int = 0


def collect(
    where: str | Path | Database, *, runs: Sequence[int] = (), queues: Sequence[int] = (), good: Sequence[str] = GOOD
) -> TrainingRows:
    """good: labels of answers that are to be learned; the others of the same kind are what they are preferred to. Raises
    UserError for a label, a run or a queue that there is not."""
    if unknown := [label for label in good if label not in LABELS]:
        raise UserError(f"{unknown[0]!r} is no label; good ones can be {', '.join(LABELS)}.")
    made = TrainingRows()
    with connected(where) as db:
        scope = _scope(db, runs, queues)
        votes = [v for v in store.votes.standing(db) if scope is None or {v["answer_a"], v["answer_b"]} <= scope]
        labels = store.labels.standing(db, answers=scope)
        named = {id for vote in votes for id in (vote["answer_a"], vote["answer_b"])} | labels.keys()
        asked, held_out = _probes(db, named)
        answers = _usable(_read(db, named), held_out, made)
    chosen, beaten = _decide_votes(votes, made)
    decided = _decide_labels(labels, made)
    bad = {id for id, label in decided.items() if label not in good}
    for winner, loser in chosen:
        _add_pair(made, answers, winner, loser, "vote", asked)
    for winner, loser in _label_pairs(answers, decided, good, made):
        _add_pair(made, answers, winner, loser, "label", asked)
    liked = [winner for winner, _ in chosen if winner not in beaten | bad]
    known: set[tuple] = set()
    for id, source in [*((id, "label") for id in decided if id not in bad), *((id, "vote") for id in liked)]:
        if (answer := answers.get(id)) and (key := (answer.turns, answer.text)) not in known:
            known.add(key)
            made.answers.append({"messages": [*_turns(answer), _said(answer)], "source": source})
            _note(made, asked, answer)
    return made


def _scope(db: Database, runs: Sequence[int], queues: Sequence[int]) -> set[int] | None:
    """The ids of the answers that it is about; None for all."""
    if not runs and not queues:
        return None
    for run in runs:
        store.runs.get(db, run)
    for queue in queues:
        store.queues.get(db, queue)
    sql = """select answer from run_answers where answer is not null and run in (select value from json_each(:runs))
             union select answer from queue_items where queue in (select value from json_each(:queues))
             union select other from queue_items where other is not null and queue in (select value from json_each(:queues))"""
    return {id for (id,) in db.execute(sql, {"runs": json.dumps(list(runs)), "queues": json.dumps(list(queues))})}


def _probes(db: Database, answers: Collection[int]) -> tuple[set[int], set[int]]:
    """Those of the answers that were given to probes, and those whose probe is held out."""
    sql = "select answer, run, probe_id from run_answers where answer in (select value from json_each(?))"
    places = db.execute(sql, [json.dumps(sorted(answers))]).fetchall()
    kept = {
        run: {probe["id"] for probe in store.runs.get(db, run)["probes"] if probe.get("held_out")}
        for run in {run for _, run, _ in places}
    }
    return {answer for answer, _, _ in places}, {answer for answer, run, probe in places if probe in kept[run]}


def _read(db: Database, ids: Collection[int]) -> list[Answer]:
    columns = "id, messages, shown, prompt, finish, variant"
    sql = f"select {columns} from answers where id in (select value from json_each(?)) order by id"
    found = []
    for row in db.query(sql, [json.dumps(sorted(ids))]):
        said = split_thoughts(row["shown"], row["prompt"] or "")
        turns = tuple(
            (one["role"], "\n".join(filter(None, (one.get("content"), one.get("input"))))) for one in json.loads(row["messages"])
        )
        unfinished = row["finish"] in ("length", "stopped") or not said.finished
        prompted = json.loads(row["variant"]).get("prompt") is not None
        found.append(Answer(row["id"], turns, said.answer.strip(), unfinished, prompted))
    return found


def _usable(answers: Iterable[Answer], held_out: Collection[int], made: TrainingRows) -> dict[int, Answer]:
    found = {}
    for answer in answers:
        why = "held_out" if answer.id in held_out else "unfinished" if answer.unfinished else "" if answer.text else "empty"
        if why:
            made.left_out[why] += 1
        else:
            found[answer.id] = answer
    return found


def _decide_votes(votes: Iterable[Mapping[str, Any]], made: TrainingRows) -> tuple[list[tuple[int, int]], set[int]]:
    """(winner, loser) of every two answers of which one got more than half of the votes; and who lost, or was called bad."""
    said: dict[tuple[int, int], Counter] = {}
    for vote in votes:
        a, b = vote["answer_a"], vote["answer_b"]
        word = {"A": a, "B": b}.get(vote["choice"], vote["choice"])
        said.setdefault((min(a, b), max(a, b)), Counter())[word] += 1
    chosen, beaten = [], set()
    for (one, two), counts in said.items():
        [(word, most)] = counts.most_common(1)
        if 2 * most <= counts.total() or word == "tie":
            made.left_out["undecided"] += 1
        elif word == "both bad":
            made.left_out["undecided"] += 1
            beaten |= {one, two}
        else:
            loser = two if word == one else one
            chosen.append((word, loser))
            beaten.add(loser)
    return chosen, beaten


def _decide_labels(labels: Mapping[int, Sequence[Mapping[str, Any]]], made: TrainingRows) -> dict[int, str]:
    """answer -> the label that people decided on; those on which they are divided are left out."""
    decided = {}
    for answer, said in labels.items():
        label = decide_label(said).label
        if label is None:
            made.left_out["disputed"] += 1
        else:
            decided[answer] = label
    return decided


def _label_pairs(
    answers: Mapping[int, Answer], decided: Mapping[int, str], good: Sequence[str], made: TrainingRows
) -> list[tuple[int, int]]:
    """Good and other answers to the same turns, each of them in one pair at least and in as few as that takes."""
    found: dict[tuple, tuple[list[int], list[int]]] = {}
    for id, label in decided.items():
        if id in answers:
            kind = next(labels for labels in (IDENTITY_LABELS, CONTROL_LABELS) if label in labels)
            found.setdefault((answers[id].turns, kind), ([], []))[label not in good].append(id)
    pairs: list[tuple[int, int]] = []
    for liked, others in found.values():
        if not liked or not others:
            made.left_out["alone"] += len(liked) + len(others)
            continue
        longer = len(liked) >= len(others)
        pairs += list(zip(liked, cycle(others), strict=False)) if longer else list(zip(cycle(liked), others, strict=False))
    return pairs


def _add_pair(
    made: TrainingRows, answers: Mapping[int, Answer], winner: int, loser: int, source: str, asked: Collection[int]
) -> None:
    one, two = answers.get(winner), answers.get(loser)
    if one is None or two is None:
        return  # counted where it was found to be of no use
    if one.turns != two.turns:
        made.left_out["other_turns"] += 1
    elif one.text == two.text:
        made.left_out["same_text"] += 1
    else:
        row = {"prompt": _turns(one), "chosen": [_said(one)], "rejected": [_said(two)], "source": source}
        if not any(row | {"source": other["source"]} == other for other in made.pairs):
            made.pairs.append(row)
            _note(made, asked, one)


def _note(made: TrainingRows, asked: Collection[int], answer: Answer) -> None:
    made.probes += answer.id in asked
    made.prompted += answer.prompted


def _turns(answer: Answer) -> list[dict]:
    return [{"role": role, "content": content} for role, content in answer.turns]


def _said(answer: Answer) -> dict:
    return {"role": "assistant", "content": answer.text}


def write_files(made: TrainingRows, folder: str | Path) -> list[Path]:
    """The files that there are rows for, and what describes them to LLaMA-Factory. Raises UserError where there are none."""
    folder = Path(folder)
    if not made.pairs and not made.answers:
        why = "; ".join(describe_left_out(made)) or "nobody has voted on or labelled any of these answers"
        raise UserError(f"There is nothing to train on: {why}.")
    factory = [
        {"messages": row["prompt"], "chosen": row["chosen"][0], "rejected": row["rejected"][0], "source": row["source"]}
        for row in made.pairs
    ]
    written = [
        files.write_objects(folder / name, rows)
        for name, rows in ((DPO, made.pairs), (FACTORY, factory), (SFT, made.answers))
        if rows
    ]
    return [*written, files.write_json(folder / INFO, dataset_info(made))]


def dataset_info(made: TrainingRows) -> dict:
    """LLaMA-Factory's description of the files: chats under `messages`, with our roles."""
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    shape = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    ranked = shape | {"ranking": True, "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}}
    found = {"mirror_dpo": {"file_name": FACTORY} | ranked} if made.pairs else {}
    return found | ({"mirror_sft": {"file_name": SFT} | shape} if made.answers else {})


def describe_left_out(made: TrainingRows) -> list[str]:
    return [f"{made.left_out[key]:,} {WHY[key]}" for key in LEFT_OUT if made.left_out[key]]


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m probes.training_rows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    say("--db", type=Path, default=DATABASE, help="database (default: runs/mirror.db)")
    say("--run", type=int, action="append", default=[], metavar="N", help="only of answers of this run; several times if need be")
    say("--queue", type=int, action="append", default=[], metavar="N", help="only of answers of this queue")
    say("--good", action="append", metavar="LABEL", help=f"labels of good answers (default: {', '.join(GOOD)})")
    return options


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        if not args.db.is_file():
            raise UserError(f"There is no database {args.db}; name one with --db.")
        made = collect(args.db, runs=args.run, queues=args.queue, good=tuple(args.good or GOOD))
        written = write_files(made, args.out)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(made.pairs):,} pairs of a chosen and a rejected answer, {len(made.answers):,} good answers.")
    for line in describe_left_out(made):
        print(f"Left out: {line}.")
    if made.prompted:
        print(f"{made.prompted:,} rows come from answers that were given under an identity as a prompt, which stands in no row.")
    if made.probes:
        print(f"{made.probes:,} rows ask a probe: what is trained on them, these probes measure no more.")
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    ending.run(main)
