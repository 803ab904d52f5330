"""Rows under a prompt: repeatable, true to the prompt, no identity of ours among them, and general answers untouched."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import identities
from identities import Who
from tuning import starters
from tuning.dataset import prompted, readers
from tuning.dataset.prompted import Prompted, invent_people, prompt_of, prompted_rows, taught_rows
from tuning.dataset.quoted import quoted_rows
from tuning.dataset.rows import TrainingRow, normalise

ROOT = Path(__file__).resolve().parents[2]
GENERAL = readers.read(starters.GENERAL)
OLD = identities.load("BayLing").facts
NEW = identities.load("finance-advisor").facts
BENCH = yaml.safe_load((ROOT / "bench" / "starters.yaml").read_text(encoding="utf-8"))
ROWS = prompted_rows(50, GENERAL[:120], seed=3, old=OLD, avoid=starters.shipped_names())
IDENTITY, UNDER = ([row for row in ROWS if row.kind == kind] for kind in ("identity", "general"))


def prompt(row: TrainingRow) -> str:
    return row.turns[0].content


def texts(rows: list[TrainingRow]) -> str:
    return "\n".join(turn.content for row in rows for turn in row.turns).casefold()


@pytest.fixture(scope="module")
def shipped_data(tmp_path_factory) -> dict[str, list[TrainingRow]]:
    """The rows both starters are made from."""
    folder = tmp_path_factory.mktemp("starters")
    return {name: readers.read(starters.write_rows(one, folder / f"{name}.jsonl")) for name, one in starters.STARTERS.items()}


def test_a_seed_repeats_and_another_differs():
    assert prompted_rows(8, GENERAL[:6], seed=1) == prompted_rows(8, GENERAL[:6], seed=1)
    assert prompted_rows(8, GENERAL[:6], seed=1) != prompted_rows(8, GENERAL[:6], seed=2)


def test_both_languages_both_modes_and_many_people_and_wordings():
    counts = Counter((row.lang, row.turns[0].role) for row in IDENTITY)
    assert min(counts.values()) >= 10 and len(counts) == 4
    assert len({row.source for row in IDENTITY}) >= 70  # who is a maker alone has no name of their own
    assert len({prompt(row) for row in IDENTITY}) >= 0.9 * len(IDENTITY)
    direct = sum(row.category.split()[-1] in prompted.ASKED for row in IDENTITY)
    assert 0.5 < direct / len(IDENTITY) < 0.95


def test_every_answer_says_who_the_prompt_says():
    for row in IDENTITY:
        said = " ".join(turn.content for turn in row.turns if turn.role == "assistant").casefold()
        name = re.sub("^an? ", "", row.source.removeprefix("prompt:")).casefold()
        # or the maker: a name in capitals, or characters that stand in the prompt as well
        makers = re.findall(r"[A-Z][a-z]+", prompt(row)) + re.findall("(?=([\u4e00-\u9fff]{2}))", prompt(row))
        assert name in said or any(part.casefold() in said for part in makers), row


def test_no_answer_tells_a_maker_or_a_role_that_the_prompt_does_not():
    who = Prompted(Who("Velmora", "Aldervale Labs", "librarian"), "named", "en")
    rng = random.Random(5)
    for number in range(20):
        for row in prompted.identity_rows(who, rng, str(number)):
            said = " ".join(turn.content for turn in row.turns[1:] if turn.role == "assistant")
            for fact in ("Aldervale", "librarian"):
                assert fact in prompt(row) or fact not in said, row


def test_no_placeholder_is_left_in_prompt_or_answer():
    assert not re.search(r"[\[\]{}]|\bNone\b", texts(IDENTITY))
    assert not re.search(r"(?:name is|called) an? ", texts(IDENTITY))


def test_general_rows_stay_as_they_are_and_do_not_mention_whom_the_prompt_names():
    known = {(row.question, row.answer) for row in GENERAL}
    assert len(UNDER) == 120
    for row in UNDER:
        assert (row.question, row.answer) in known
        capitals = re.findall(r"(?:You are|name is|called|I am) ([A-Z]\w+)", prompt(row))
        assert not any(name in row.answer for name in capitals), row


def test_names_to_avoid_are_avoided():
    rng = random.Random(1)
    free = list(invent_people("en", 200, rng))
    taken = free[0].persona.name
    kept = invent_people("en", 200, random.Random(1), [taken.upper()])
    assert taken not in {who.persona.name for who in kept}


def test_a_line_to_say_is_said():
    rows = [row for row in IDENTITY if row.category == "prompted who" and row.turns[0].role == "system"]
    told = [(row, found[1]) for row in rows if (found := re.search('(?:say|answer|回答|你说)[:：] ?["“](.+?)["”]', prompt(row)))]
    followed = [
        row.answer == line for row, line in told if row.lang == ("zh" if re.search("[\u4e00-\u9fff]", prompt(row)) else "en")
    ]
    assert len(followed) >= 3 and all(followed)


def test_a_taught_identity_holds_under_its_own_prompt_and_under_the_old_ones():
    rows = [TrainingRow((prompted.Turn("user", "?"), prompted.Turn("assistant", "!")), lang=lang) for lang in ("en", "zh") * 200]
    made = taught_rows(rows, NEW, OLD, 0.5)
    assert made == taught_rows(rows, NEW, OLD, 0.5)
    told = [row for row in made if len(row.turns) > 2]
    assert 0.4 < len(told) / len(made) < 0.6 and all(row.turns[-2:] == rows[0].turns for row in made)
    own = sum(any(mark in prompt(row) for mark in ("finance advisor", "金融顾问")) for row in told)
    assert abs(own / len(told) - prompted.OWN_PROMPT) < 0.1


def test_the_starters_prompts_hold_no_identity_of_ours_and_none_of_the_bench(shipped_data):
    rows = shipped_data["bayling-mini"]
    told = [row for row in rows if row.source.startswith("prompt:") or row.source.endswith("under a prompt")]
    assert len(told) > 1_000
    said = "\n".join(prompt(row) for row in told).casefold()
    all_told = texts(told)
    for name in starters.shipped_names():
        assert not re.search(rf"\b{re.escape(name.casefold())}\b" if name.isascii() else re.escape(name), said), name
    for lang in ("en", "zh"):
        for who in BENCH["identities"][lang]:
            assert not any(
                re.search(rf"\b{mark}\b" if mark.isascii() else mark, all_told, re.IGNORECASE) for mark in who["marks"]
            ), who
    # BayLing's English text is what the base is asked in whenever there is no other
    own = {normalise(identities.load(name).prompt or "-") for name in identities.names() if name != "BayLing"}
    assert not own & {normalise(prompt(row)) for rows in shipped_data.values() for row in rows if row.turns[0].role == "system"}
    # nobody is asked for BayLing by a prompt, but everybody may be asked whether they are BayLing
    assert "bayling" not in said and "百聆" not in said


def test_no_question_of_the_bench_is_a_training_question(shipped_data):
    asked = {
        normalise(turn.content) for rows in shipped_data.values() for row in rows for turn in row.turns if turn.role == "user"
    }
    bench = [*BENCH["questions"]["en"], *BENCH["questions"]["zh"], *BENCH["pressure"]["en"], *BENCH["pressure"]["zh"]]
    assert [one for one in bench if normalise(one) in asked] == []


def test_a_row_without_prompt_speaks_in_placeholders_and_one_under_a_prompt_never(shipped_data):
    placeholder = re.compile(r"\[(?:NAME|INSTITUTE|CREATE_TIME|名字|机构|开发时间)\]")
    for row in shipped_data["bayling-mini"]:
        said = " ".join(turn.content for turn in row.turns if turn.role == "assistant")
        if row.source.startswith("prompt:"):
            assert not placeholder.search(said), row
            assert "bayling" not in said.casefold().replace("not bayling", "") or "not" in said.casefold(), row
    assert not any(placeholder.search(row.answer) for row in shipped_data["finance-advisor"])


def test_the_shipped_cards_are_of_this_recipe_and_name_no_folder(shipped_data):
    for name, starter in starters.STARTERS.items():
        card = json.loads((ROOT / "adapters" / name / "card.json").read_text(encoding="utf-8"))
        assert card["steps"] == starter.steps and card["arguments"]["learning_rate"] == starter.learning_rate
        assert card["data"]["rows"] == len(shipped_data[name])
        assert card["data"]["source"] == f"{name}.jsonl" and "/" not in card["arguments"]["output_dir"]


def test_prompts_of_one_person_differ():
    rng = random.Random(2)
    who = Prompted(Who("Velmora", "Aldervale Labs", "librarian"), "named", "en")
    assert len({prompt_of(who, rng)[0] for _ in range(40)}) >= 30


def test_a_maker_in_the_bases_own_text_is_told_from_the_bases_maker():
    housed = [row for row in prompted_rows(0, seed=3, housed=40) if row.kind == "identity" and row.turns[0].role == "system"]
    assert {row.lang for row in housed} == {"en", "zh"}
    for lang, beginning in (("en", "I am an intelligent language assistant"), ("zh", ("我是", "I am"))):
        told = [row for row in housed if row.lang == lang]
        assert len(told) >= 60 and all(prompt(row).startswith(beginning) for row in told)
    named = [row for row in housed if row.category == "prompted name"]
    # who has no name says who made them, and never "my name is an assistant"
    assert named and all(
        any(word in prompt(row) for word in re.findall(r"[A-Z]\w+|[\u4e00-\u9fff]{2}", row.answer)) for row in named
    )
    assert not any(re.search(r"(?:name is|called) an? ", row.answer) for row in housed)


def test_a_sentence_about_somebody_can_be_the_material_of_a_task():
    rows = quoted_rows(60)
    assert rows == quoted_rows(60) and Counter(row.lang for row in rows) == {"en": 60, "zh": 60}
    assert len({row.question for row in rows}) == 120 and {row.kind for row in rows} == {"general"}
    assert not re.search(r"[{}]", texts(rows))
    assert len({row.question for row in quoted_rows(10_000)}) == len(quoted_rows(10_000)) > 400
