"""Label Studio's own exports come back as labels: JSON, JSON-MIN, and the CSV with the same columns.

Label Studio numbers its users. A task that this program wrote says who said what (`annotators`, `annotated`), so that what comes
back unchanged is its person's again; what was changed or added there is the Label Studio user's who did it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from probes.answers.sources import RowsError
from probes.answers.tables import AnswerRow
from store.labels import ASPECTS, KINDS

TAGS = tuple(f"tag_{aspect}" for aspect in ASPECTS)


def fingerprint(annotator: str, kind: str, label: str | None, tags: Mapping[str, str], comment: str) -> str:
    """What one person said, so that it is known again and nobody reads it beforehand."""
    told = [annotator, kind, label, {aspect: tag for aspect, tag in sorted(tags.items()) if tag}, comment]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:16]


def flatten_tasks(rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    """Rows as they are, or a row per annotation where they are tasks of Label Studio. Raises RowsError with the task."""
    if all(isinstance(row.get("data"), Mapping) and "variant" not in row for row in rows) and rows:
        found = [made for row in rows for made in _of_task(row)]
    elif any("annotation_id" in row or ("lead_time" in row and "annotator" in row) for row in rows):
        found = [_named(_minimal(row)) for row in rows]
    else:
        return list(rows)
    return _users_named(found)


def _of_task(task: Mapping) -> list[AnswerRow]:
    """An annotation each; a task without any is a row without a label."""
    data = {key: value for key, value in task["data"].items() if key not in ("label", "annotator", "kind")}
    annotations = task.get("annotations", task.get("completions")) or ()
    if not annotations:
        row = AnswerRow(data)
        row.unlabelled = True
        return [row]
    found = []
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result") or [], list):
            raise RowsError(f"Task {task.get('id')}: an annotation has no list of results; is it Label Studio's JSON export?")
        kind = "skip" if annotation.get("was_cancelled") else "adjudication" if annotation.get("ground_truth") else "label"
        said = {"kind": kind, "annotator": _user(annotation.get("completed_by")), "seconds": annotation.get("lead_time")}
        for result in annotation.get("result") or ():
            said |= _result(task, result)
        found.append(_named(AnswerRow({key: value for key, value in (data | said).items() if value not in (None, "")})))
    return found


def _result(task: Mapping, result: Mapping) -> dict:
    name, value = result.get("from_name"), result.get("value") or {}
    if name == "label":
        choices = value.get("choices") or []
        if len(choices) != 1:
            raise RowsError(f"Task {task.get('id')} has {len(choices)} labels in one annotation; exactly one is needed.")
        return {"label": choices[0]}
    if name in (*TAGS, "comment"):
        return {name: _text(value.get("text"))}
    return {}


def _minimal(row: AnswerRow) -> AnswerRow:
    """JSON-MIN and CSV have the controls as columns; one that was used several times is a list."""
    said = {name: _text(row[name]) for name in ("label", *TAGS, "comment") if name in row}
    made = AnswerRow({**row, **said, "seconds": row.get("lead_time"), "annotator": _user(row.get("annotator"))})
    made.line, made.unlabelled = row.line, not said.get("label")
    return made


def _text(value: object) -> str:
    said = value
    if isinstance(value, str) and value.startswith(('{"choices"', '{"text"', "[")):
        try:
            said = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(said, Mapping):
        said = said.get("text", said.get("choices"))
    return "\n".join(map(str, said)) if isinstance(said, list) else str(said or "")


def _user(told: object) -> object:
    if isinstance(told, Mapping):
        return told.get("email") or told.get("username") or told.get("id")
    return int(told) if isinstance(told, str) and told.isdecimal() else told


def _named(row: AnswerRow) -> AnswerRow:
    """With the name of the person who said exactly this before it went to Label Studio, if somebody did."""
    people, marks = row.get("annotators") or [], row.get("annotated") or []
    if not isinstance(people, list) or not isinstance(marks, list):
        return row
    tags = {aspect: str(row.get(f"tag_{aspect}") or "") for aspect in ASPECTS}
    for person, mark in zip(people, marks, strict=False):
        # JSON-MIN does not tell a label from an adjudication
        for kind in (row["kind"],) if "kind" in row else KINDS:
            if mark == fingerprint(person, kind, row.get("label"), tags, str(row.get("comment") or "")):
                row |= {"annotator": person, "kind": kind}
                return row
    return row


def _users_named(rows: list[AnswerRow]) -> list[AnswerRow]:
    """A lone numbered user is whoever brings the file; several keep their numbers, so that they are not taken for one."""
    numbers = {row["annotator"] for row in rows if isinstance(row.get("annotator"), int)}
    for row in rows:
        if isinstance(row.get("annotator"), int):
            row["annotator"] = "" if len(numbers) == 1 else f"Label Studio user {row['annotator']}"
    return rows


def marks(said: Iterable[Mapping]) -> dict[str, list[str]]:
    """What a task carries of the labels it leaves with."""
    said = list(said)
    made = [fingerprint(row["annotator"], row["kind"], row["label"], row["tags"], row["comment"] or "") for row in said]
    return {"annotators": [row["annotator"] for row in said], "annotated": made}
