"""Which stored answers rows from elsewhere are about. Numbers of another store mean other answers; words do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from sqlite_utils import Database

from engine.thoughts import spoken_text

TEXTS = ("variant", "question", "answer")
KEPT = ("id", "variant_name", "question", "shown", "raw", "prompt")
NOT_HERE = "its answer is not in the store; import the answers first"


def find_answers(db: Database, rows: Sequence[Mapping]) -> list[tuple[list[int], str]]:
    """(ids, "" or what is wrong) per row. Where several numbers of another store have the same words, each goes to one of this
    store's, in their order; a number alone is about all that have them."""
    found: list[tuple[list[int], str]] = []
    numbers: dict[tuple, dict[object, list[int]]] = defaultdict(lambda: defaultdict(list))  # texts -> number -> rows
    index = cache(lambda variant: _index(db, variant))

    def of_words(texts: tuple[str, ...]) -> list[int]:
        variant, question, answer = texts
        return _exact(db, variant, question, answer) or index(variant).get((_lines(question), _lines(answer)), [])

    for at, row in enumerate(rows):
        number = row.get("answer_id")
        lacking = ", ".join(key for key in TEXTS if row.get(key) is None)
        texts = tuple(_text(row.get(key)) for key in TEXTS)
        if not lacking and number not in (None, ""):
            numbers[texts][number].append(at)
        if id_ := find_by_id(db, row):
            found.append(([id_], ""))
        elif lacking:
            found.append(([], f"{NOT_HERE}, or give its {lacking}, by which it can be found" if number else NOT_HERE))
        else:
            other = f"answer {number} of this store is another one and none has these words; import the answers first"
            ids = of_words(texts)
            found.append((ids, "" if ids else other if _stored(db, number) else NOT_HERE))
    for texts, theirs in numbers.items():
        # one number that is ours by chance does not make the others so
        if len(theirs) > 1 and any(found[at][0] != [number] for number, places in theirs.items() for at in places):
            ids = of_words(texts)
            for rank, number in enumerate(sorted(theirs, key=lambda one: (str(type(one)), one))):
                for at in theirs[number]:
                    found[at] = (ids[rank : rank + 1] or ids[-1:], found[at][1])
    return found


def drop_foreign_ids(db: Database, rows: Iterable[Mapping]) -> list[dict]:
    """Rows of a file without the numbers that mean other answers here: whatever is known by number would be taken for theirs.

    The variant may have another name: an answer that a run took over is known by its first.
    """
    kept = []
    for row in rows:
        ours = row.get("answer_id") is None or find_by_id(db, {key: row[key] for key in row if key != "variant"})
        kept.append(dict(row) if ours else {key: value for key, value in row.items() if key != "answer_id"})
    return kept


def find_by_id(db: Database, row: Mapping) -> int | None:
    """The row's `answer_id` if this store has it and every text beside it is that answer's."""
    stored = _stored(db, row.get("answer_id"))
    if stored is None:
        return None
    given = {key: _text(row[key]) for key in TEXTS if row.get(key) is not None}
    if "question" in given and _lines(given["question"]) != _lines(stored["question"]):
        return None
    if "answer" in given and _lines(given["answer"]) not in _wordings(stored):
        return None
    if "variant" in given and given["variant"] not in _names(db, stored["id"], stored["variant_name"]):
        return None
    return stored["id"]


def _exact(db: Database, variant: str, question: str, answer: str) -> list[int]:
    sql = "select id from answers where variant_name = ? and question = ? and shown = ? order by id"
    return [id_ for (id_,) in db.execute(sql, [variant, question, answer])]


def _index(db: Database, variant: str) -> dict[tuple[str, str], list[int]]:
    """(question, answer) -> ids: with line ends as any spreadsheet leaves them, and without thoughts."""
    made: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in db.execute(f"select {', '.join(KEPT)} from answers where variant_name = ? order by id", [variant]):
        stored = dict(zip(KEPT, row, strict=True))
        for words in _wordings(stored):
            made[_lines(stored["question"]), words].append(stored["id"])
    return made


def _stored(db: Database, number: object) -> dict | None:
    if isinstance(number, str) and number.strip().isdecimal():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**63:
        return None
    row = db.execute(f"select {', '.join(KEPT)} from answers where id = ?", [number]).fetchone()
    return dict(zip(KEPT, row, strict=True)) if row else None


def _wordings(stored: Mapping) -> set[str]:
    """What may stand for an answer: as shown, as written, and what was said of it."""
    return {_lines(text) for text in (stored["shown"], stored["raw"], spoken_text(stored["shown"], stored["prompt"] or ""))}


def _names(db: Database, answer: int, own: str) -> set[str]:
    """What the answer's variant is called: an answer that a run took over from another stands there under that run's name."""
    sql = """select json_extract(r.variants, '$[' || a.variant || '].name')
             from run_answers a join runs r on r.id = a.run where a.answer = ?"""
    return {own, *(name for (name,) in db.execute(sql, [answer]))}


def _text(value: object) -> str:
    return str("" if value is None else value).encode("utf-8", "replace").decode()  # as the store keeps half a surrogate pair


def _lines(text: str) -> str:
    """Spreadsheets change line ends and drop what stands around a text."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
