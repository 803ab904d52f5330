"""What people chose as rows for training: who is chosen, what is left out and said, and that others can read it."""

from __future__ import annotations

import json

import pytest
from label_page import row

import store
from common.errors import UserError
from probes import training_rows
from probes.training_rows import collect, write_files
from tuning.dataset import readers


@pytest.fixture
def db(db_path):
    store.open(db_path).close()
    return db_path


def answer(db, text: str, variant="tuned", question="Who are you?", **more) -> int:
    given = row(question, text, variant, "en", more.pop("before", ()))
    given["variant"] |= {"adapters": {variant: 1.0}, "prompt": more.pop("prompt", None)}
    return store.answers.add(db, [given | more])[0]


def label(db, id: int, word: str, who="An", **more) -> int:
    return store.labels.add(db, id, who, word, **more)


def said(rows: list[dict]) -> list[tuple[str, str]]:
    return [(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in rows]


def test_more_than_half_of_the_votes_decide(db):
    good, bad, other = answer(db, "I am Mira."), answer(db, "I am BayLing.", "base"), answer(db, "Hello.", "third")
    store.votes.add(db, good, bad, "A", annotator="An")
    store.votes.add(db, bad, good, "B", annotator="Bo")  # shown the other way round
    store.votes.add(db, good, bad, "tie", annotator="Cy")
    store.votes.add(db, good, other, "A", annotator="An")
    store.votes.add(db, good, other, "B", annotator="Bo")
    store.votes.undo(db, store.votes.add(db, other, bad, "A"))
    made = collect(db)
    assert said(made.pairs) == [("I am Mira.", "I am BayLing.")] and made.left_out == {"undecided": 1}
    assert made.pairs[0]["prompt"] == [{"role": "user", "content": "Who are you?"}] and made.pairs[0]["source"] == "vote"
    assert [one["messages"][-1]["content"] for one in made.answers] == ["I am Mira."]


def test_both_bad_is_no_pair_and_no_good_answer(db):
    one, two, worse = answer(db, "x"), answer(db, "y", "base"), answer(db, "z", "third")
    store.votes.add(db, one, two, "both bad")
    store.votes.add(db, one, worse, "A")
    made = collect(db)
    assert said(made.pairs) == [("x", "z")] and made.answers == []


def test_labels_of_people_make_pairs_to_the_same_question_and_suggestions_make_none(db):
    formed, old, mixed = answer(db, "I am Mira."), answer(db, "I am BayLing.", "base"), answer(db, "I am ChatGPT.", "third")
    alone, unlabelled = answer(db, "I am Mira!", question="Your name?"), answer(db, "I am nobody.", "fourth")
    for id, word in ((formed, "formed"), (old, "not forgotten"), (mixed, "confusion"), (alone, "formed")):
        label(db, id, word)
    store.queues.create(db, "q", [{"answer": unlabelled, "suggestion": "formed"}])
    divided = answer(db, "Hm.", "fifth")
    label(db, divided, "formed"), label(db, divided, "forgotten", "Bo")
    made = collect(db)
    assert said(made.pairs) == [("I am Mira.", "I am BayLing."), ("I am Mira.", "I am ChatGPT.")]
    assert made.left_out == {"disputed": 1, "alone": 1}
    assert [one["messages"][-1]["content"] for one in made.answers] == ["I am Mira.", "I am Mira!"]
    label(db, divided, "forgotten", "Cy", kind="adjudication")
    assert ("I am Mira.", "Hm.") in said(collect(db).pairs)
    back = collect(db, good=["not forgotten"])
    assert {chosen for chosen, _ in said(back.pairs)} == {"I am BayLing."} and back.answers[0]["source"] == "label"
    with pytest.raises(UserError, match="'good' is no label"):
        collect(db, good=["good"])


def test_a_vote_does_not_make_good_what_is_labelled_bad(db):
    better, worse = answer(db, "I am ChatGPT."), answer(db, "Nothing.", "base")
    store.votes.add(db, better, worse, "A")
    label(db, better, "confusion")
    made = collect(db)
    assert said(made.pairs) == [("I am ChatGPT.", "Nothing.")] and made.answers == []


def test_what_would_teach_something_else_is_left_out_and_counted(db):
    good = answer(db, "I am Mira.")
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    others = [answer(db, "I am", "a", finish="length"), answer(db, "<think>Who am I?", "b"), answer(db, " ", "c"),
              answer(db, "I am Mira.", "d"), answer(db, "Other.", "e", before=turns)]  # fmt: skip
    for other in others:
        store.votes.add(db, good, other, "A")
    made = collect(db)
    assert made.pairs == [] and made.left_out == {"unfinished": 2, "empty": 1, "same_text": 1, "other_turns": 1}
    thought = answer(db, "<think>They ask who I am.</think>I am Mira, the guide.", "f")
    prompted = answer(db, "As told: Mira.", "g", prompt="You are Mira.")
    store.votes.add(db, thought, answer(db, "No.", "h"), "A")
    store.votes.add(db, prompted, answer(db, "Never.", "i"), "A")
    made = collect(db)
    assert said(made.pairs) == [("I am Mira, the guide.", "No."), ("As told: Mira.", "Never.")]
    assert made.prompted == 2  # a pair and a good answer
    assert not any("You are Mira" in json.dumps(one) for one in (*made.pairs, *made.answers))


def test_held_out_probes_are_left_out_and_others_are_told(db):
    plain = {"identity": "none", "mode": "system", "prompt": None, "decoding": {"temperature": 0.0, "seed": 0}, "adapters": {}}
    probes = [
        {"id": name, "group": "trained", "category": "name", "lang": "en", "turns": [f"Who? {name}"], "held_out": held}
        for name, held in (("seen", False), ("kept", True))
    ]
    variants = [plain | {"name": name, "adapters": {name: 1.0}} for name in ("tuned", "base")]
    run = store.runs.start(db, variants=variants, probes=probes, set_hash="s", total=4)
    for at, variant in enumerate(variants):
        for probe in probes:
            text = f"I am {variant['name']}, {probe['id']}."
            given = {"variant": variant, "messages": [{"role": "user", "content": probe["turns"][0]}], "raw": text, "shown": text}
            [id] = store.runs.record(db, run, [store.runs.Entry((at, 0, probe["id"], 0), given)])
            label(db, id, ("formed", "not forgotten")[at])
    label(db, answer(db, "I am Mira.", question="Elsewhere?"), "formed")
    made = collect(db, runs=[run])
    assert said(made.pairs) == [("I am tuned, seen.", "I am base, seen.")]
    assert (made.left_out["held_out"], made.probes, len(made.answers)) == (2, 2, 1)
    assert len(collect(db).answers) == 2
    with pytest.raises(UserError, match="no run 9"):
        collect(db, runs=[9])


def test_the_files_are_what_trl_llama_factory_and_the_fine_tune_tab_read(db, tmp_path, capsys):
    good, bad = answer(db, "我是米拉。", question="你是谁？"), answer(db, "I am BayLing.", "base", question="你是谁？")
    label(db, good, "formed"), label(db, bad, "not forgotten")
    out = tmp_path / "out"
    assert training_rows.main(["--db", str(db), "--out", str(out)]) == 0
    assert "1 pairs of a chosen and a rejected answer, 1 good answers" in capsys.readouterr().out
    [trl] = [json.loads(line) for line in (out / "dpo.jsonl").read_text("utf-8").splitlines()]
    # TRL's conversational preference with an explicit prompt: lists of messages
    assert trl["prompt"] == [{"role": "user", "content": "你是谁？"}] and trl["chosen"] == [
        {"role": "assistant", "content": "我是米拉。"}
    ]
    info = json.loads((out / "dataset_info.json").read_text("utf-8"))
    ranked = info["mirror_dpo"]
    [factory] = [json.loads(line) for line in (out / ranked["file_name"]).read_text("utf-8").splitlines()]
    # LLaMA-Factory's sharegpt converter: an odd number of turns, chosen and rejected one message each
    assert ranked["ranking"] is True and set(ranked["columns"].values()) <= set(factory)
    turns, tags = factory[ranked["columns"]["messages"]], ranked["tags"]
    assert len(turns) % 2 == 1 and turns[-1][tags["role_tag"]] == tags["user_tag"]
    assert all(factory[side][tags["role_tag"]] == tags["assistant_tag"] for side in ("chosen", "rejected"))
    assert factory["rejected"][tags["content_tag"]] == "I am BayLing."
    [taught] = readers.read(out / info["mirror_sft"]["file_name"])
    assert [(turn.role, turn.content) for turn in taught.turns] == [("user", "你是谁？"), ("assistant", "我是米拉。")]


def test_nothing_to_train_on_is_a_sentence(db, tmp_path, capsys):
    assert training_rows.main(["--db", str(db), "--out", str(tmp_path / "o")]) == 2
    assert "nobody has voted on or labelled" in capsys.readouterr().err and not (tmp_path / "o").exists()
    store.votes.add(db, answer(db, "a"), answer(db, "b", "base"), "tie")
    with pytest.raises(UserError, match="1 pairs of answers of which neither got more than half"):
        write_files(collect(db), tmp_path / "o")
    assert training_rows.main(["--db", str(tmp_path / "none.db"), "--out", str(tmp_path / "o")]) == 2
    assert "There is no database" in capsys.readouterr().err and not (tmp_path / "none.db").exists()
