"""Every answer that was given, with all it takes to make it again.

An answer is a plain dict. Required: `variant` (the whole variant as a dict: name, adapters, prompt, mode, decoding ...),
`messages` (role/content dicts, the last one the user's), `raw`, `shown`. Optional: `prompt`, `format`, `finish`,
`prompt_tokens`, `new_tokens`, `mean_logprob`, `dropped_turns`, `timings` (seconds), `hashes` (`base`, `dtype`, `format`,
`identity`, and `adapters`: name -> hash), `source` ('chat' if not given, 'identity', ...), `lang`, `session`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.db import StoreError, connected, now, write_in_pieces, writing

REQUIRED = ("variant", "messages", "raw", "shown")
PLAIN = ("prompt", "format", "finish", "prompt_tokens", "new_tokens", "mean_logprob", "dropped_turns", "lang")
JSON_COLUMNS = ("variant", "messages", "decoding", "timings")
SAMPLING_ONLY = ("top_p", "top_k", "seed")


def add(where: str | Path | Database, answers: Iterable[Mapping[str, Any]], session: str | None = None) -> list[int]:
    """Stores all of them or, if one is wrong (StoreError), none; their ids in the same order."""
    rows = [_row(answer, session) for answer in answers]
    with connected(where) as db, writing(db):
        return [_insert(db, row) for row in rows]


def add_many(
    where: str | Path | Database, answers: Iterable[Mapping[str, Any]], known: Callable[[Database, int], Mapping[str, int]]
) -> Iterator[tuple[str, int]]:
    """Stores answers whose `session` tells them apart, in pieces between which others may write; (session, id) of each.

    known(db, id): sessions of this kind that were stored after `id`, with their ids: one that is there is not stored again, be it
    that another program takes in the same at the same time. An error, or the end of the program, leaves what was stored before.
    """
    with connected(where) as db:
        there, last = dict(known(db, 0)), _last(db)
        found: list[tuple[str, int]] = []

        def write(answer: Mapping[str, Any]) -> None:
            nonlocal last
            if (newest := _last(db)) != last:
                there.update(known(db, last))
                last = newest
            if answer["session"] not in there:
                there[answer["session"]] = last = _insert(db, _row(answer, None))
            found.append((answer["session"], there[answer["session"]]))

        for _ in write_in_pieces(db, answers, write):
            yield from found
            found.clear()


def get(where: str | Path | Database, id: int) -> dict[str, Any] | None:
    """One answer as it was given, with `id`, `created`, `variant_name`, `question`, `decoding`, `seed` and its keys."""
    return next(iter(_read(where, "id = ?", [id], 1)), None)


def recent(where: str | Path | Database, limit: int, source: str | None = None) -> list[dict[str, Any]]:
    """The latest `limit` answers, newest first, of one source if it is given."""
    return _read(where, "source = ?" if source else "1", [source] if source else [], limit)


def find(where: str | Path | Database, key: str | None) -> dict[str, Any] | None:
    """The latest answer to exactly this request (`request_key`); one that a person cut short does not count."""
    return next(iter(_read(where, "request_key = ? and finish is not 'stopped'", [key], 1)), None)


def of_run(where: str | Path | Database, run: int) -> list[dict[str, Any]]:
    """Every answer that is linked to a run (`store.runs`), each once."""
    return _read(where, "id in (select answer from run_answers where run = ?)", [run], -1)


def of_ids(where: str | Path | Database, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Those of these answers that there are, each once."""
    return _read(where, "id in (select value from json_each(?))", [json.dumps(list(ids))], -1)


def request_key(variant: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], hashes: Mapping[str, Any]) -> str | None:
    """The same for two requests that the same model answers in the same way; None without a hash of the base.

    hashes: `base`, `dtype`, `format` and `adapters` (name -> hash), as in an answer. Names do not count, neither the
    variant's nor the adapters', nor what greedy decoding ignores. The number format does: bf16 and fp32 round to other words.
    """
    if not hashes.get("base"):
        return None
    turns = [{name: message[name] for name in ("role", "content", "input") if message.get(name)} for message in messages]
    known = [_essence(variant, hashes), variant.get("decoding", {}).get("seed") if _sampled(variant) else None, turns]
    return _hash([*known, hashes["dtype"]] if hashes.get("dtype") else known)


def variant_key(variant: Mapping[str, Any], hashes: Mapping[str, Any]) -> str:
    """The same for two variants that are the same in all but name and seed."""
    return _hash(_essence(variant, hashes))


def _essence(variant: Mapping[str, Any], hashes: Mapping[str, Any]) -> list[Any]:
    known = hashes.get("adapters") or {}
    strengths = variant.get("adapters", {})
    adapters = sorted((known.get(name, name), float(strength)) for name, strength in strengths.items() if strength)
    prompt, numbers = variant.get("prompt"), hashes.get("dtype") or ""
    decoding = dict(variant.get("decoding", {}))
    for name in ("seed",) if _sampled(variant) else SAMPLING_ONLY:
        decoding.pop(name, None)
    return [
        hashes.get("base"),
        hashes.get("format") or variant.get("format"),
        adapters,
        prompt,
        variant.get("mode") if prompt is not None else None,
        decoding,
        *([numbers] if "(" in numbers else []),  # quantised weights are another model's; a rounding more or less is not
    ]


def _sampled(variant: Mapping[str, Any]) -> bool:
    return bool(variant.get("decoding", {}).get("temperature"))


def _last(db: Database) -> int:
    return db.execute("select max(id) from answers").fetchone()[0] or 0


def _insert(db: Database, row: Mapping[str, Any]) -> int:
    names = ", ".join(f"[{name}]" for name in row)
    sql = f"insert into answers ({names}) values ({', '.join('?' * len(row))})"
    id: int = db.execute(sql, list(row.values())).lastrowid
    return id


def _row(answer: Mapping[str, Any], session: str | None) -> dict[str, Any]:
    missing = [name for name in REQUIRED if answer.get(name) is None]
    if missing:
        raise StoreError(f"An answer without {', '.join(missing)} cannot be stored.")
    variant, messages, hashes = answer["variant"], answer["messages"], answer.get("hashes") or {}
    decoding = variant.get("decoding", {})
    row = {
        "created": now(),
        "source": answer.get("source") or "chat",
        "session": answer.get("session", session),
        "variant_name": variant.get("name", ""),
        "variant_key": variant_key(variant, hashes),
        "request_key": request_key(variant, messages, hashes),
        "question": next((m.get("content", "") for m in reversed(messages) if m.get("role") == "user"), ""),
        "raw": answer["raw"],
        "shown": answer["shown"],
        "seed": decoding.get("seed"),
        "base_hash": hashes.get("base"),
        "dtype": hashes.get("dtype"),
        "format_hash": hashes.get("format"),
        "identity_hash": hashes.get("identity"),
        "adapter_hashes": _json(hashes.get("adapters") or {}),
        "variant": _json(variant),
        "messages": _json(messages),
        "decoding": _json(decoding),
        "timings": _json(answer.get("timings") or {}),
    } | {name: answer.get(name) for name in PLAIN}
    # Half of a surrogate pair can come from a browser; UTF-8 cannot hold it, and it must not cost the answer.
    return {name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for name, value in row.items()}


def _read(where: str | Path | Database, condition: str, values: list[Any], limit: int) -> list[dict[str, Any]]:
    with connected(where) as db:
        return [_answer(row) for row in db["answers"].rows_where(condition, values, order_by="id desc", limit=limit)]


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    row = row | {name: json.loads(row[name]) for name in JSON_COLUMNS}
    hashes = {name: row.pop(f"{name}_hash") for name in ("base", "format", "identity")}
    dtype = row.pop("dtype")  # answers from before it was kept have none
    hashes |= {"dtype": dtype} if dtype else {}
    return row | {"hashes": hashes | {"adapters": json.loads(row.pop("adapter_hashes"))}}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
