"""Labels and answers in and out: CSV, JSONL, and Label Studio's JSON.

What is imported twice is stored once: an answer is known by its texts, a label by its content.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlite_utils import Database

import store
from common import files, paths, space
from engine import thoughts
from probes.answers import label_studio as label_studio_files, matching as found, tables
from probes.answers.sources import RowsError
from probes.answers.tables import AnswerRow
from store import StoreError
from store.db import connected, write_in_pieces, writing
from store.label_words import as_kind, as_label, as_tag, as_truth
from store.labels import ASPECTS, KINDS, LABELS
from store.names import person

IMPORTED = "import"  # the source of answers from elsewhere
ANSWER_COLUMNS = (
    "answer_id", "variant", "lang", "probe_id", "group", "category", "sample", "question", "answer", "raw", "label",
    "label_source", "voices", "suggestion", "sure",
)  # fmt: skip
LABEL_COLUMNS = (
    "answer_id", "annotator", "kind", "label", *(f"tag_{aspect}" for aspect in ASPECTS), "flag", "comment", "blind", "seconds",
    "created", "variant", "lang", "question", "answer",
)  # fmt: skip
TEXTS = ("variant", "question", "answer")
SHOWN_PROBLEMS = 20
AT_ONCE = 500  # labels that are stored all or none; more would keep others from writing


def read_rows(path: str | Path) -> list[AnswerRow]:
    """The rows of a .csv, .tsv, .jsonl or .json file (a list of objects, or what Label Studio exports). Raises RowsError."""
    return label_studio_files.flatten_tasks(tables.read_table(path))


def add_answers(where: str | Path | Database, rows: Iterable[Mapping], name: str = "") -> list[dict]:
    """Stores answers from elsewhere; the rows again, each with its `answer_id`, ready for a queue (`collect.queue_items`).

    A row has `variant` (or `model`), `question` and `answer`; `lang`, `raw`, `group`, `probe_id` and others if known. One
    that already is in the store keeps its id. name: of the file, told beside the answers. Raises RowsError with every
    problem, nothing then stored. Many are stored in pieces, so that others can write meanwhile; where that is broken off, the
    same file goes on from there.
    """
    given = list(rows)
    known_rows = [tables.rename_columns(row) for row in given]
    wrong = []
    for number, row in enumerate(known_rows, 1):
        # an empty answer is one where it came from a store; in a sheet it is a cell that nobody has filled
        needed = ("variant", "question") if row.get("answer_id") and row.get("answer") == "" else TEXTS
        missing = [key for key in needed if row.get(key) in (None, "")]
        no_text = [key for key in TEXTS if isinstance(row.get(key), bool | Mapping | list | tuple)]
        line = tables.describe_line(given[number - 1])
        wrong += [f"answer {number} has no {', '.join(missing)}{line}"] if missing else []
        wrong += [f"answer {number}: its {key} is {row[key]!r}, a text is needed{line}" for key in no_text]
        row |= {key: str(row[key]) for key in TEXTS if row.get(key) is not None}  # a number is the text it is written as
    _raise(wrong, "The answers are not imported")
    keys = [_answer_key(row, name) for row in known_rows]
    with connected(where) as db:
        known = {key: row["answer_id"] for key, row in zip(keys, known_rows, strict=True) if found.find_by_id(db, row)}
        new = {key: row for key, row in zip(keys, known_rows, strict=True) if key not in known}
        try:
            for key, id in store.answers.add_many(db, (_as_stored(row, key) for key, row in new.items()), _imported):
                known[key] = id
        except sqlite3.OperationalError as error:
            done = sum(key in known for key in new)
            raise RowsError(_broken_off("answers", done, len(new), _why(error, where))) from error
    return [row | {"answer_id": known[key]} for key, row in zip(keys, known_rows, strict=True)]


def add_labels(where: str | Path | Database, rows: Iterable[Mapping], annotator: str = "", *, for_others: bool = True) -> int:
    """Stores labels from elsewhere; how many were new. annotator: for rows that name none. for_others: whether rows may be other
    people's than `annotator`'s, settle, and say of themselves that they were given blind, as whoever brings them is trusted.

    A row has `label`, and `answer_id`, or `variant`, `question` and `answer` to find the stored answer by; `kind`, `tags` (or
    tag_name ...), `flag`, `comment`, `blind` if known. An id counts only where the texts beside it are the stored answer's:
    another store has other answers under the same numbers. Raises RowsError with every problem, nothing then stored.
    """
    given = [row for row in rows if not getattr(row, "unlabelled", False)]
    wrong: list[str] = []
    labels: list[Mapping] = []
    with connected(where) as db:
        rows = [tables.rename_columns(row) for row in given]
        answers = found.find_answers(db, rows)
        for number, (row, (ids, problem)) in enumerate(zip(rows, answers, strict=True), 1):
            line = tables.describe_line(given[number - 1])
            label, kind = as_label(row.get("label")), as_kind(row.get("kind")) or "label"
            if kind not in KINDS:
                wrong.append(f"label {number}: the kind {kind!r} is none of {', '.join(KINDS)}{line}")
                continue
            if kind != "skip" and label not in LABELS:
                wrong.append(f"label {number}: {row.get('label')!r} is none of {', '.join(LABELS)}{line}")
            if row.get("label_source") == "suggestion":
                wrong.append(f"label {number} is a suggestion of the program; only what a person said is a label{line}")
            try:
                who = person(str(row.get("annotator") or annotator))
            except StoreError as error:
                wrong.append(f"label {number}: {str(error).rstrip('.')}{line}")
                continue
            if not who:
                wrong.append(f"label {number} names no annotator{line}")
            if not for_others:
                wrong += [f"label {number} {why}{line}" for why in _not_theirs(db, row, ids, who, kind, annotator)]
            wrong += [f"label {number}: {problem}{line}"] if problem else []
            labels += [_as_label(row, answer, label if kind != "skip" else None, kind, who) for answer in ids]
        _raise(wrong, "The labels are not imported")
        labels = _not_standing(db, labels)
        if len(labels) > AT_ONCE:
            return _in_pieces(db, labels, where)
        with writing(db):
            before = db["labels"].count
            try:
                store.labels.add_many(db, _not_standing(db, labels))
            except StoreError as error:
                raise RowsError(f"The labels are not imported: {error}") from error
            return db["labels"].count - before


def _in_pieces(db: Database, labels: Sequence[Mapping], where: str | Path | Database) -> int:
    """How many were new; others write between the pieces, and the same file goes on from where it was broken off."""
    new = done = 0

    def write(label: Mapping) -> None:
        nonlocal new
        before = db.conn.total_changes
        store.labels.add(db, **label)
        new += db.conn.total_changes > before  # a label that was there already changes nothing

    try:
        for stored in write_in_pieces(db, labels, write):
            done = stored
    except (StoreError, sqlite3.OperationalError) as error:
        raise RowsError(_broken_off("labels", done, len(labels), _why(error, where))) from error
    return new


def _why(error: Exception, where: str | Path | Database) -> str:
    return space.full_disk_sentence(error, None if isinstance(where, Database) else where) or str(error)


def _broken_off(what: str, done: int, total: int, why: str) -> str:
    return f"{done} of {total} {what} were imported, then: {why} Import the same file again to go on; none is stored twice."


def _imported(db: Database, after: int) -> dict[str, int]:
    """Keys of imported answers that came after the id, with their ids."""
    sql = "select session, id from answers where source = ? and id > ? order by id desc"
    return dict(db.execute(sql, [IMPORTED, after]).fetchall())


def _not_theirs(db: Database, row: Mapping, answers: Sequence[int], who: str, kind: str, annotator: str) -> list[str]:
    """What somebody may not bring in who may bring in only what they say themselves, as the desk would have it."""
    wrong = []
    if who != person(annotator):
        wrong.append(f"is {who}'s, and you are {annotator}: people's labels are brought in by themselves, or by a researcher")
    if kind == "adjudication":
        wrong.append("is an adjudication: it is made in a queue of what is to be settled, or brought in by a researcher")
    sql = """select count(*) from queue_items i join queues q on q.id = i.queue
             where q.blind and q.kind != 'settle' and (i.answer = ? or i.other = ?)"""
    if as_truth(row.get("blind")) and any(not db.execute(sql, [answer, answer]).fetchone()[0] for answer in answers):
        wrong.append("says that it was given blind, and its answer is in no blind queue here")
    return wrong


def _not_standing(db: Database, labels: Sequence[Mapping]) -> list[Mapping]:
    """Without those that say what the same person says already: an export that comes back changes nothing."""
    same = ("annotator", "kind", "label", "tags", "flag", "comment")
    said = store.labels.standing(db, answers={label["answer"] for label in labels})
    return [
        label for label in labels if not any(all(row[key] == label[key] for key in same) for row in said.get(label["answer"], ()))
    ]


def label_rows(where: str | Path | Database, queue: int | None = None) -> list[dict]:
    """Every standing label with the answer it is about, a row each, keys as LABEL_COLUMNS."""
    with connected(where) as db:
        said = store.labels.standing(db, queue)
        columns = "a.id, a.variant_name, a.lang, a.question, a.shown"
        sql = f"select {columns} from json_each(?) asked join answers a on a.id = asked.value"
        texts = {row[0]: dict(zip(LABEL_COLUMNS[-4:], row[1:], strict=True)) for row in db.execute(sql, [json.dumps(list(said))])}
    own = ("annotator", "kind", "label", "flag", "comment", "blind", "seconds", "created")
    found = []
    for answer, rows in said.items():
        for row in rows:
            tags = {f"tag_{aspect}": row["tags"].get(aspect, "") for aspect in ASPECTS}
            found.append({"answer_id": answer} | {key: row[key] for key in own} | tags | texts[answer])
    return found


def write_rows(path: str | Path, rows: Sequence[Mapping], columns: Sequence[str] = ()) -> None:
    """A .csv (readable by spreadsheets, formulas made harmless), .jsonl or .json file, or a .gz of one. Raises RowsError."""
    path, kind = Path(path), paths.ending(path)
    if kind == ".csv":
        text = "\ufeff" + as_csv(rows, columns)
    elif kind == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif kind == ".json":
        text = json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n"
    else:
        raise RowsError(f"{path} is none of .csv, .jsonl and .json.")
    if path.suffix.lower() == ".gz":
        with files.atomic_file(path, binary=True) as file:
            file.write(gzip.compress(text.encode(), compresslevel=6, mtime=0))  # no time: the same rows, the same file
    else:
        files.write_text(path, text)


def as_csv(rows: Sequence[Mapping], columns: Sequence[str] = ()) -> str:
    """columns: in this order, those that no row has left out; default: all keys, in order of appearance."""
    keys = dict.fromkeys(key for row in rows for key in row)
    wanted = [key for key in columns if key in keys] or list(keys)
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(wanted)
    table.writerows([[_cell(row.get(key)) for key in wanted] for row in rows])
    return out.getvalue()


def label_studio_tasks(rows: Iterable[Mapping], labels: Mapping[int, Sequence[Mapping]]) -> list[dict]:
    """Tasks for Label Studio (its JSON format): annotations are labels, predictions suggestions, adjudications ground truth.

    labels: as `store.labels.standing` gives them. Label Studio numbers its users, so people are numbered by name; the name
    itself stands in the task's data, too.
    """
    people = {name: number for number, name in enumerate(sorted({r["annotator"] for said in labels.values() for r in said}), 1)}
    tasks = []
    for number, row in enumerate(rows, 1):
        said = labels.get(row.get("answer_id") or 0, ())  # no answer has that number
        data = {
            key: row[key] for key in ANSWER_COLUMNS if row.get(key) is not None and key not in ("label", "label_source", "voices")
        }
        data["answer"] = thoughts.spoken_text(str(row.get("answer") or ""), row.get("prompt") or "")
        task = {"id": row.get("answer_id") or number, "data": data | label_studio_files.marks(said)}
        task["annotations"] = [
            {
                "id": label["id"],
                "completed_by": people[label["annotator"]],
                "created_at": label["created"],
                "lead_time": label["seconds"],
                "was_cancelled": label["kind"] == "skip",
                "ground_truth": label["kind"] == "adjudication",
                "result": _results(label["label"], label["tags"], label["comment"]),
            }
            for label in said
        ]
        if row.get("suggestion"):
            tags = {aspect: tag for aspect, tag in (row.get("tags") or {}).items() if tag != "none"}
            suggestion = {"model_version": "suggestion", "result": _results(row["suggestion"], tags, "")}
            task["predictions"] = [suggestion | {"score": 1.0 if row.get("sure", True) else 0.5}]
        tasks.append(task)
    return tasks


def label_studio_config() -> str:
    """The labelling interface that the tasks of `label_studio_tasks` fit, to paste into a project."""
    choices = "\n".join(f'    <Choice value="{label}"/>' for label in LABELS)
    tags = "\n".join(
        f'  <TextArea name="tag_{aspect}" toName="answer" maxSubmissions="1" placeholder="{aspect}"/>' for aspect in ASPECTS
    )
    return f"""<View>
  <Header value="$question"/>
  <Text name="answer" value="$answer"/>
  <Choices name="label" toName="answer" choice="single">
{choices}
  </Choices>
{tags}
  <TextArea name="comment" toName="answer" maxSubmissions="1" placeholder="comment"/>
</View>
"""


def _results(label: str | None, tags: Mapping[str, str], comment: str) -> list[dict]:
    found = [{"id": "label", "from_name": "label", "to_name": "answer", "type": "choices", "value": {"choices": [label]}}]
    found = found if label else []  # who skips chooses none
    texts = {f"tag_{aspect}": tags.get(aspect) for aspect in ASPECTS} | {"comment": comment}
    return found + [
        {"id": name, "from_name": name, "to_name": "answer", "type": "textarea", "value": {"text": [text]}}
        for name, text in texts.items()
        if text
    ]


def _answer_key(row: Mapping, name: str) -> str:
    told = [
        name,
        *(str(row.get(key, "")) for key in ("variant", "lang", "probe_id", "sample", "record", "turn", "question", "answer")),
    ]
    return f"{name or 'import'}:{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]}"


def _as_stored(row: Mapping, key: str) -> dict:
    answer = str(row["answer"])
    return {
        "variant": {"name": str(row["variant"])},
        "messages": [{"role": "user", "content": str(row["question"])}],
        "raw": str(row.get("raw") or answer),
        "shown": answer,
        "prompt": row.get("prompt"),
        "lang": row.get("lang"),
        "source": IMPORTED,
        "session": key,
    }


def _as_label(row: Mapping, answer: int, label: str | None, kind: str, annotator: str) -> dict:
    given = row.get("tags")
    tags = dict(given) if isinstance(given, Mapping) else {}
    tags |= {aspect: row[f"tag_{aspect}"] for aspect in ASPECTS if row.get(f"tag_{aspect}")}
    tags = {aspect: as_tag(tag) for aspect, tag in tags.items()}
    told = {
        "annotator": annotator,
        "kind": kind,
        "label": label,
        "tags": tags,
        "flag": as_truth(row.get("flag")),
        "comment": str(row.get("comment") or ""),
        "blind": as_truth(row.get("blind")),
    }
    content = json.dumps([answer, told], sort_keys=True, ensure_ascii=False)
    return told | {"answer": answer, "token": f"import:{hashlib.sha256(content.encode()).hexdigest()[:24]}"}


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return tables.guard_formula(value) if isinstance(value, str) else value


def _raise(wrong: list[str], what: str) -> None:
    if wrong:
        more = f"; and {len(wrong) - SHOWN_PROBLEMS} more" if len(wrong) > SHOWN_PROBLEMS else ""
        raise RowsError(f"{what}: {'; '.join(wrong[:SHOWN_PROBLEMS])}{more}.")
