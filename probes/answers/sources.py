"""Answer rows from wherever they stand - files, transcripts, runs, queues - in the one shape that judging reads.

A row has `variant`, `lang`, `probe_id`, `group`, `question`, `answer`, and `answer_id` if the answer is stored. Suggestions are
added where there are facts; labels stay where they are and are looked up by `answer_id`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from sqlite_utils import Database

import store
from common import reading
from common.errors import UserError
from probes.answers import dose, shapes
from probes.answers.dose import UNKNOWN, Dose
from probes.identity_pair import FactPair
from probes.questions import wording_id
from probes.run import rows as answer_rows
from probes.suggest.labels import suggest

# What a queue keeps of a row; texts are read from the answer itself.
KEPT = (
    "variant", "lang", "probe_id", "group", "category", "pair", "held_out", "sample", "sampled", "temperature", "seed", "check",
    "run", "suggestion", "sure", "tags", "data", "set_hash",
)  # fmt: skip
HAN_SHARE = 0.2  # of the characters, from which on a question without `lang` counts as Chinese


class RowsError(UserError):
    """Answers that cannot be read; its text says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Answers:
    """rows of one or several sources, what is known of the variants' training, where it came from (for the report), and the
    folders of the adapters that answered, by variant and adapter. facts: old and new, if a run says whom it was about."""

    rows: list[dict]
    doses: Mapping[str, Dose] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    folders: Mapping[tuple[str, str], str] = field(default_factory=dict)
    facts: Mapping | None = None


def read_transcripts(path: str | Path) -> Answers:
    """JSONL with `model`, `data`, `lang`, `question`, `answer`: one row per answer, the same question being one probe.

    Nothing says that the answers are greedy, so they count as sampled. Raises RowsError.
    """
    rows: list[dict] = []
    doses: dict[str, Dose] = {}
    for number, given in enumerate(read_jsonl(path), 1):
        row = _with_texts(path, number, given)
        missing = [key for key in ("model", "question", "answer") if row.get(key) in (None, "")]
        if missing:
            raise RowsError(
                f"{path}, answer {number} has no {', '.join(missing)}; a line has model, data, lang, question, answer."
            )
        variant = str(row["model"])
        variant = f"model {variant}" if variant.isdecimal() else variant
        told = dose.from_text(str(row.get("data") or ""))
        if doses.setdefault(variant, told) != told:
            before = doses[variant].data
            raise RowsError(
                f"{path}, answer {number}: {variant} has the data {told.data!r} here and {before!r} before; rename one of them."
            )
        more = {"variant": variant, "probe_id": wording_id(str(row["question"])), "group": row.get("group") or "paraphrase"}
        rows.append({"sampled": True} | row | more | {"lang": row.get("lang") or _lang(row)})
    return Answers(rows, doses, (Path(path).name,))


def read_file(path: str | Path) -> Answers:
    """An answers or suggestions file of `probes.run` or `probes.suggest`. Raises RowsError."""
    rows = []
    for number, given in enumerate(read_jsonl(path), 1):
        row = _with_texts(path, number, given)
        rows.append(row)
        if not row.get("variant") or not row.get("lang") or not row.get("probe_id"):
            raise RowsError(
                f"{path}, answer {number} lacks variant, lang or probe_id; is it a file of transcripts (--transcripts)?"
            )
    told = {str(row["variant"]): dose.from_text(str(row["data"])) for row in rows if row.get("data")}
    given = {str(row["variant"]): row["dose"] for row in rows if row.get("dose")}
    return Answers(rows, told | dose.from_mappings(given, str(path)), (Path(path).name,))


def read_run(db: str | Path, run: int) -> Answers:
    """Everything a run of the store has answered so far. Raises StoreError."""
    record = store.runs.get(db, run)
    doses = {variant["name"]: dose.from_variant(variant) for variant in record["variants"]}
    name = f"run {run}" + (f" ({record['name']})" if record["name"] else "")
    folders = {
        (variant["name"], adapter): folder
        for variant in record["variants"]
        for adapter, folder in (variant.get("paths") or {}).items()
    }
    known = {variant: told for variant, told in doses.items() if told != UNKNOWN}
    about = record["settings"].get("about") or {}
    return Answers(answer_rows.rows_of(db, run), known, (name,), folders, about.get("facts"))


def read_queue(db: str | Path, queue: int) -> Answers:
    """The answers of a queue, wherever they were made. Raises StoreError."""
    with store.open(db) as opened:
        settings, items = store.queues.get(opened, queue), store.queues.items(opened, queue)
        texts = _texts(opened, [item["answer"] for item in items])
    rows = [item | texts[item["answer"]] | {"answer_id": item["answer"]} for item in items if item["other"] is None]
    rows.sort(key=lambda row: row["answer_id"])  # as they were made: a queue is shuffled for labelling
    told = {str(row["variant"]): dose.from_text(str(row["data"])) for row in rows if row.get("data")}
    return Answers(rows, told, (f"queue {queue} ({settings['name']})",))


def join_answers(parts: Iterable[Answers]) -> Answers:
    """All of them together; an answer of the store that several hold counts once."""
    parts = list(parts)
    rows: list[dict] = []
    doses: dict[str, Dose] = {}
    sources: list[str] = []
    folders: dict[tuple[str, str], str] = {}
    seen = set()
    for part in parts:
        for row in part.rows:
            key = tuple(row.get(name) for name in ("answer_id", "variant", "probe_id", "question", "answer"))
            if row.get("answer_id") is None or key not in seen:
                rows.append(row)
                seen.add(key)
        doses |= part.doses
        sources += part.sources
        folders |= part.folders
    return Answers(rows, doses, tuple(sources), folders, next((part.facts for part in parts if part.facts), None))


def add_suggestions(rows: Iterable[Mapping], facts: FactPair | None, *, again: bool = False) -> list[dict]:
    """Rows with `suggestion`, `sure`, `tags` and `evidence`; those that have them keep them unless asked to judge again."""
    found = []
    for row in rows:
        lacking = again or "suggestion" not in row or "evidence" not in row
        judged = suggest(row, facts) if facts is not None and lacking and isinstance(row.get("answer"), str) else {}
        found.append({**row, **judged})
    return found


def queue_items(rows: Iterable[Mapping]) -> list[dict]:
    """Rows of stored answers as `store.queues.create` takes them; retention is judged by its checks and left out."""
    return [
        {key: row[key] for key in KEPT if row.get(key) is not None} | {"answer": row["answer_id"]}
        for row in rows
        if row.get("answer_id") is not None and row.get("group") != "retention"
    ]


def pair_items(rows: Iterable[Mapping]) -> list[dict]:
    """Every two variants' answers to the same probe (and sample) as pairs for `store.queues.create`; `variant_of` says by
    answer id whose is whose."""
    places: dict[tuple, dict[str, list[Mapping]]] = {}
    for row in rows:
        if row.get("answer_id") is not None and row.get("group") != "retention":
            place = (row.get("run"), row.get("probe_id"), row.get("lang"), row.get("sample"), row.get("turn"))
            places.setdefault(place, {}).setdefault(str(row["variant"]), []).append(row)
    shared = ("lang", "probe_id", "group", "category", "pair", "held_out", "sample", "run", "set_hash")
    return [
        {key: one[key] for key in shared if one.get(key) is not None}
        | {"answer": one["answer_id"], "other": two["answer_id"]}
        | {"variant_of": {str(one["answer_id"]): one["variant"], str(two["answer_id"]): two["variant"]}}
        for by_variant in places.values()
        for some, others in combinations(by_variant.values(), 2)
        for one, two in zip(some, others, strict=False)  # samples that nobody numbered, in their order
        if one["answer_id"] != two["answer_id"]  # a reused answer is nothing to compare with itself
    ]


def complete_rows(rows: Iterable[dict]) -> list[dict]:
    """Rows from elsewhere with what a queue is spread over: `lang`, guessed from the question, and `probe_id`, which then is
    the question."""
    found = []
    for row in rows:
        whole = copy.copy(row)  # of the same kind: rows of a file know their line
        whole["lang"] = lang_of(row)
        whole["probe_id"] = row.get("probe_id") or wording_id(str(row.get("question") or ""))
        found.append(whole)
    return found


def lang_of(row: Mapping) -> str:
    """A row's `lang`, or else what its question seems to be in."""
    return str(row.get("lang") or _lang(row))


def read_jsonl(path: str | Path) -> list[dict]:
    """The objects of a file, one a line. Raises RowsError."""
    return [row for _, row in read_numbered(path)]


def read_numbered(path: str | Path) -> list[tuple[int, dict]]:
    """`read_jsonl` with the line that each object begins in."""
    rows = list(reading.read_objects(path, "file", RowsError))
    if not rows:
        raise RowsError(f"{path} holds no answers.")
    return rows


def _with_texts(path: str | Path, number: int, row: Mapping) -> dict:
    """A number is the text it is written as; nothing else stands for one. Raises RowsError."""
    where = f"{path}, answer {number}"
    made = shapes.checked_judgement(shapes.checked(row, where, RowsError), where, RowsError)
    for key in ("question", "answer", "raw"):
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise RowsError(f"{path}, answer {number}: its {key} is {value!r}, a text is needed.")
        if value is not None:
            made[key] = str(value)
    return made


def _lang(row: Mapping) -> str:
    question = str(row.get("question") or "")
    return "zh" if sum("\u4e00" <= char <= "\u9fff" for char in question) > HAN_SHARE * len(question) else "en"


def _texts(db: Database, answers: list[int]) -> dict[int, dict]:
    sql = "select a.id, a.question, a.shown, a.raw, a.prompt from json_each(?) asked join answers a on a.id = asked.value"
    keys = ("question", "answer", "raw", "prompt")
    return {row[0]: dict(zip(keys, row[1:], strict=True)) for row in db.execute(sql, [json.dumps(answers)])}
