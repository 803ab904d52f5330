"""The store: nothing is lost, nothing is overwritten, and what comes back is what was put in."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

import store
from store.migrations import migrations

DECODING = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "seed": 0}


def variant(name="base", **changes):
    return {
        "name": name,
        "adapters": {},
        "identity": "none",
        "prompt": None,
        "mode": "system",
        "format": None,
        "decoding": DECODING,
    } | changes


def answer(text="I am BayLing.", question="Who are you?", who=None, **changes):
    return {
        "variant": who or variant(),
        "messages": [{"role": "user", "content": question}],
        "prompt": f"### Instruction:\n{question}\n### Response:\n",
        "raw": text.replace("BayLing", "[NAME]"),
        "shown": text,
        "format": "bayling",
        "finish": "stop",
        "prompt_tokens": 12,
        "new_tokens": 5,
        "mean_logprob": -0.25,
        "dropped_turns": 0,
        "timings": {"queued_s": 0.0, "prefill_s": 0.1, "decode_s": 0.5},
        "hashes": {"base": "b0", "format": "f0", "identity": "i0", "adapters": {}},
    } | changes


def write_singly(path, writer, count, start=None):
    if start:
        start.wait()
    for i in range(count):
        store.answers.add(path, [answer(f"{writer}-{i}")])


def raw_rows(path, sql, *values):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


# --- opening -------------------------------------------------------------------------------------------------------------


def test_opening_makes_folder_and_tables_and_is_idempotent(db_path):
    for _ in range(3):
        with store.open(db_path) as db:
            assert {"answers", "votes"} <= set(db.table_names())
            assert db.journal_mode == "wal"
            assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert migrations.pending(db) == []
    store.answers.add(db_path, [answer()])
    with store.open(db_path) as db:
        applied = [m.name for m in migrations.applied(db)]
        assert applied[:3] == ["m001_answers", "m002_votes", "m003_jobs"]
        assert [int(name[1:4]) for name in applied] == list(range(1, len(applied) + 1))
        assert db["answers"].count == 1


def test_a_file_from_before_the_votes_gets_them_and_keeps_its_answers(db_path):
    db_path.parent.mkdir()
    connection = sqlite3.connect(db_path)
    old = store.db.Database(connection)
    migrations.apply(old, stop_before="m002_votes")
    plain = dict.fromkeys((column.name for column in old["answers"].columns if column.name != "id"), "{}")
    id = old["answers"].insert(plain | {"shown": "from an older version"}).last_pk
    assert "votes" not in old.table_names()
    connection.close()
    assert store.votes.tally(db_path) == []
    assert store.answers.get(db_path, id)["shown"] == "from an older version"


def test_many_threads_open_a_fresh_file_at_once(db_path):
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda i: store.answers.add(db_path, [answer(str(i))])[0], range(16)))
    assert sorted(ids) == list(range(1, 17))


def test_a_database_removed_under_a_running_app_is_made_anew(db_path):
    store.answers.add(db_path, [answer()])
    db_path.unlink()
    assert store.answers.recent(db_path, 10) == []


def test_no_database_is_refused_and_left_alone(db_path):
    db_path.parent.mkdir()
    for content in (b"dear diary, this is no database at all\n" * 400, b"SQLi", b"SQLite format 3\0" + b"\xff\x07" * 4000):
        db_path.write_bytes(content)
        with pytest.raises(store.StoreError, match=r"mirror\.db.*--db\.$"):
            store.answers.add(db_path, [answer()])
        assert db_path.read_bytes() == content
        assert [file.name for file in db_path.parent.iterdir()] == [db_path.name]


def test_an_impossible_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "mirror.db"):
        with pytest.raises(store.StoreError, match=r"--db\.$"):
            store.open(path)


# --- answers -------------------------------------------------------------------------------------------------------------


def test_an_answer_comes_back_whole(db_path):
    given = answer(
        "我是百聆 🪞,由“文本泰斗”开发。\n\tZeile zwei\0Ende ",
        "你是谁?\u200d 𠮷",
        variant("财务 + Bär", adapters={"金融": 0.5}, prompt="你是金融顾问。\n", mode="first_turn"),
        hashes={"base": "b0", "format": "f0", "identity": "i0", "adapters": {"金融": "a1"}},
        source="identity",
        lang="zh",
    )
    [id] = store.answers.add(db_path, [given], session="s1")
    back = store.answers.get(db_path, id)
    assert {name: back[name] for name in given} == given
    assert back["variant_name"] == "财务 + Bär"
    assert back["question"] == "你是谁?\u200d 𠮷"
    assert back["decoding"] == DECODING and back["seed"] == 0
    assert back["session"] == "s1"
    assert back["created"].endswith("+00:00")
    assert store.answers.get(db_path, id + 1) is None


def test_half_a_surrogate_pair_costs_a_character_not_the_answer(db_path):
    [id] = store.answers.add(db_path, [answer("fine", "broken \ud83d emoji")])
    back = store.answers.get(db_path, id)
    assert back["question"] == back["messages"][0]["content"] == "broken ? emoji"


def test_a_wrong_answer_takes_its_whole_batch_with_it(db_path):
    with pytest.raises(store.StoreError, match="without raw"):
        store.answers.add(db_path, [answer(), answer(raw=None)])
    with pytest.raises(sqlite3.Error):
        store.answers.add(db_path, [answer(), answer(new_tokens=object())])
    assert store.answers.recent(db_path, 10) == []


def test_recent_is_newest_first_and_per_source(db_path):
    ids = store.answers.add(db_path, [answer(str(i), source=("chat", "identity")[i % 2]) for i in range(6)])
    assert [a["id"] for a in store.answers.recent(db_path, 4)] == ids[:1:-1]
    assert [a["shown"] for a in store.answers.recent(db_path, 2, "identity")] == ["5", "3"]


def test_two_threads_lose_no_answer(db_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda writer: write_singly(db_path, writer, 300), ("one", "two")))
    shown = {a["shown"] for a in store.answers.recent(db_path, 900)}
    assert shown == {f"{writer}-{i}" for writer in ("one", "two") for i in range(300)}
    assert raw_rows(db_path, "select count(*) from answers") == [(600,)]


def test_two_processes_lose_no_answer(db_path):
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)  # both find no file at the same moment
    processes = [spawn.Process(target=write_singly, args=(db_path, writer, 300, start)) for writer in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    shown = {a["shown"] for a in store.answers.recent(db_path, 900)}
    assert shown == {f"{writer}-{i}" for writer in ("one", "two") for i in range(300)}


def test_a_writer_waits_for_one_that_holds_the_lock(db_path):
    [first] = store.answers.add(db_path, [answer("first")])
    with ThreadPoolExecutor(1) as pool:
        with store.open(db_path) as db, store.db.writing(db):
            waiting = pool.submit(store.answers.add, db_path, [answer("second")])
            store.answers.add(db, [answer("third")])
            assert store.answers.get(db_path, first)["shown"] == "first"  # readers do not wait
            assert not waiting.done()
        waiting.result()
    assert {a["shown"] for a in store.answers.recent(db_path, 9)} == {"first", "second", "third"}


# --- the same request again ----------------------------------------------------------------------------------------------


def key_of(who, hashes=None, question="Who are you?"):
    hashes = hashes or {"base": "b0", "format": "f0", "adapters": {"fin": "a1", "fin2": "a1", "tone": "a2"}}
    return store.answers.request_key(who, [{"role": "user", "content": question}], hashes)


def test_find_returns_the_latest_answer_to_the_same_request(db_path):
    request = answer()
    key = store.answers.request_key(request["variant"], request["messages"], request["hashes"])
    assert store.answers.find(db_path, key) is None
    store.answers.add(db_path, [answer("older"), answer("newer"), answer("cut sh", finish="stopped"), answer("x", "Another?")])
    assert store.answers.find(db_path, key)["shown"] == "newer"


def test_an_answer_without_a_known_base_is_never_taken_again(db_path):
    store.answers.add(db_path, [answer(hashes={})])
    assert key_of(variant(), {"base": None}) is None
    assert store.answers.find(db_path, None) is None


@pytest.mark.parametrize(
    "same",
    [
        variant("renamed", adapters={"fin": 1.0}, identity="other file, same text"),
        variant(adapters={"fin2": 1}),
        variant(adapters={"fin": 1.0, "tone": 0.0}),
        variant(adapters={"fin": 1.0}, mode="first_turn"),
        variant(adapters={"fin": 1.0}, decoding=DECODING | {"seed": 7, "top_p": 0.5}),
    ],
    ids=["names", "adapter of the same content", "strength 0", "mode without a prompt", "seed of a greedy row"],
)
def test_what_changes_nothing_keeps_the_key(same):
    assert key_of(same) == key_of(variant(adapters={"fin": 1.0}))


@pytest.mark.parametrize(
    "other",
    [
        variant(prompt="You are a guide.", adapters={"fin": 0.5}),
        variant(prompt="You are a guide.", adapters={"tone": 1.0}),
        variant(prompt="You are a clerk.", adapters={"fin": 1.0}),
        variant(adapters={"fin": 1.0}),
        variant(prompt="", adapters={"fin": 1.0}),
        variant(prompt="You are a guide.", adapters={"fin": 1.0}, mode="first_turn"),
        variant(prompt="You are a guide.", adapters={"fin": 1.0}, decoding=DECODING | {"temperature": 0.7}),
        variant(prompt="You are a guide.", adapters={"fin": 1.0}, decoding=DECODING | {"max_new_tokens": 65}),
    ],
)
def test_what_changes_the_answer_changes_the_key(other):
    usual = variant(prompt="You are a guide.", adapters={"fin": 1.0})
    assert key_of(other) != key_of(usual)


def test_base_format_question_and_sampled_seed_change_the_key():
    usual, warm = variant(), DECODING | {"temperature": 0.7}
    keys = [
        key_of(usual),
        key_of(usual, {"base": "b1", "format": "f0"}),
        key_of(usual, {"base": "b0", "format": "f1"}),
        key_of(usual, question="你是谁?"),
        key_of(variant(decoding=warm)),
        key_of(variant(decoding=warm | {"seed": 1})),
    ]
    assert len(set(keys)) == len(keys)


# --- votes ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(db_path):
    """Two stored answers, one of the base and one under a prompt."""
    prompted = variant("guide", prompt="You are a museum guide.")
    return store.answers.add(db_path, [answer("plain"), answer("guide", who=prompted)])


def counts(db_path, of="guide"):
    """The only pair's counts, seen from the variant `of`: for it, against it, tie, both bad."""
    [row] = store.votes.tally(db_path)
    won, lost = ("a", "b") if row["variant_a"] == of else ("b", "a")
    return row[won], row[lost], row["tie"], row["both bad"]


def test_tally_counts_per_pair_whatever_side_was_shown(db_path, pair):
    base, guide = pair
    store.votes.add(db_path, base, guide, "B", blind=True, annotator="An")
    store.votes.add(db_path, guide, base, "A", shown_order=[base, guide], annotator="张")
    store.votes.add(db_path, guide, base, "B")
    store.votes.add(db_path, base, guide, "tie")
    store.votes.add(db_path, base, guide, "both bad")
    assert counts(db_path) == (2, 1, 1, 1)
    [row] = store.votes.tally(db_path)
    assert (row["votes"], row["blind"]) == (5, 1)
    assert {row["variant_a"], row["variant_b"]} == {"base", "guide"}


def test_renaming_a_variant_splits_no_pair_and_a_shared_name_joins_none(db_path, pair):
    base, guide = pair
    renamed = variant("a new name", prompt="You are a museum guide.")
    other = variant("guide", prompt="You are another guide.")
    renamed_id, other_id = store.answers.add(db_path, [answer(who=renamed), answer(who=other)])
    store.votes.add(db_path, base, guide, "B")
    store.votes.add(db_path, renamed_id, base, "A")
    store.votes.add(db_path, base, other_id, "A")
    assert [row["votes"] for row in store.votes.tally(db_path)] == [2, 1]


def test_undo_supersedes_and_deletes_nothing(db_path, pair):
    vote = store.votes.add(db_path, *pair, "A", blind=True, annotator="An")
    undone = store.votes.undo(db_path, vote)
    assert store.votes.tally(db_path) == []
    assert raw_rows(db_path, "select id, choice, annotator, blind, superseded_by from votes order by id") == [
        (vote, "A", "An", 1, undone),
        (undone, "undone", "An", 1, None),
    ]
    for gone in (vote, undone, 99):
        with pytest.raises(store.StoreError):
            store.votes.undo(db_path, gone)


def test_a_changed_vote_counts_once_and_only_one_of_two_tabs_changes_it(db_path, pair):
    first = store.votes.add(db_path, *pair, "A")
    store.votes.add(db_path, *pair, "B", supersedes=first)
    with pytest.raises(store.StoreError, match="does not stand"):
        store.votes.add(db_path, *pair, "tie", supersedes=first)
    assert counts(db_path) == (1, 0, 0, 0)
    assert raw_rows(db_path, "select count(*) from votes") == [(2,)]


def test_a_vote_that_does_not_fit_is_refused_with_all_its_faults(db_path, pair):
    with pytest.raises(store.StoreError, match=r"'left' is none of .*no answer 77"):
        store.votes.add(db_path, pair[0], 77, "left")
    with pytest.raises(store.StoreError, match="against itself"):
        store.votes.add(db_path, pair[0], pair[0], "A")
    assert store.votes.tally(db_path) == []


def test_the_shown_order_is_kept(db_path, pair):
    vote = store.votes.add(db_path, *pair, "A", shown_order=pair[::-1])
    assert raw_rows(db_path, "select shown_order from votes where id = ?", vote) == [(f"[{pair[1]}, {pair[0]}]",)]


# --- second opinions -----------------------------------------------------------------------------------------------------


def test_opinions_stay_with_what_was_asked_and_an_unknown_answer_gets_none(db_path):
    [id] = store.answers.add(db_path, [answer()])
    for opinion in ("formed", "unclear"):
        store.opinions.add(db_path, id, judge="j", opinion=opinion, prompt="Judge this.", reply=f"{opinion}!")
    assert [(row["opinion"], row["prompt"], row["reply"]) for row in store.opinions.of_answer(db_path, id)] == [
        ("formed", "Judge this.", "formed!"),
        ("unclear", "Judge this.", "unclear!"),
    ]
    with pytest.raises(store.StoreError, match="there is no answer 99"):
        store.opinions.add(db_path, 99, judge="j", opinion="formed", prompt="?", reply="!")
