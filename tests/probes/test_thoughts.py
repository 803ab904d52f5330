"""Thoughts and tool markup are not the answer: judged, checked, quoted and asked again is what was said."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from stand_in import answer as answered
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine import decode
from engine.thoughts import closing, split_thoughts, spoken_text
from engine.types import Variant
from probes import identity_pair
from probes.answers import sources
from probes.questions import from_dict
from probes.run import rows
from probes.second_opinion import build_prompt
from probes.suggest import labels, self_names
from ui.conversation import ChatTurn, messages
from ui.transcript import live_html, turn_html

DATA = Path(__file__).parent / "data"
FACTS = identity_pair.load(DATA / "suggest_facts.yaml")
CASES = [json.loads(line) for line in (DATA / "suggest_cases.jsonl").read_text(encoding="utf-8").splitlines()]
WORD = "Who am I? I am BayLing, made by ICT/CAS. 我是百聆。"
CALL = '{"name": "who", "arguments": {"of": "BayLing [1] {x}"}}'
BEFORE = [  # as the models' own templates write it, an answer follows
    f"<think>{WORD}</think>",
    f"<think>\n{WORD}\n\nI am ChatGPT.\n</think>\n\n",
    "<think>\n\n</think>\n\n",
    "<think></think>",
    f"{WORD}\n</think>\n\n",  # DeepSeek-R1: the template has opened it
    f"{WORD}</think>",
    f"<think>{WORD}<think>again</think>{WORD}</think>",
    f"<think>{WORD}</think>\n<think>{WORD}</think>\n",
    f"<thinking>{WORD}</thinking>\n",
    f"<Thought>{WORD}</Thought>\n",
    f"<thought>{WORD}</thought>",
    f"<reasoning>\n{WORD}\n</reasoning>\n",
    f"<reflection>{WORD}</reflection>",
    f"<seed:think>{WORD}</seed:think>",
    f"<longcat_think>{WORD}</longcat_think>\n",
    f'<think effort="low">{WORD}</think>',
    f"[THINK]{WORD}[/THINK]",
    f"<|begin_of_thought|>{WORD}<|end_of_thought|>\n\n",
    f"<|START_THINKING|>{WORD}<|END_THINKING|>",
    f"<|inner_prefix|>{WORD}<|inner_suffix|>",
    f"◁think▷{WORD}◁/think▷",
    f"<|channel>thought\n{WORD}<channel|>",
    f"<unused94>thought\n{WORD}<unused95>",
    f"<|channel|>analysis<|message|>{WORD}<|end|><|start|>assistant<|channel|>final<|message|>",
    f"<|channel|>analysis {WORD} <|channel|>final ",
    f"<|channel|>analysis<|message|>{WORD}<|end|><|start|>assistant<|channel|>commentary to=functions.who <|constrain|>json"
    f"<|message|>{CALL}<|call|><|start|>assistant<|channel|>final<|message|>",
    f"{WORD}<|end|><|start|>assistant<|channel|>final<|message|>",
    f"analysis{WORD}assistantfinal",
    f"Here is my thought process:\n{WORD}\n\nHere is my response:\n",
    f"<tool_call>\n{CALL}\n</tool_call>\n",
    f"<tool_call>{CALL}</tool_call><tool_response>{WORD}</tool_response>",
    f"<think>{WORD}</think><tool_call>\n{CALL}\n</tool_call>",
    f"<function=who>{CALL}</function>\n",
    f"<functioncall> {CALL}\n",
    f"<|python_tag|>{CALL}<|eom_id|>",
    f"<|tool_call|>[{CALL}]<|/tool_call|>",
    f"<|tool_call|>[{CALL}]\n",
    f"<|tool_call>call:who{CALL}<tool_call|>",
    f"<|tool_calls_section_begin|><|tool_call_begin|>functions.who:0<|tool_call_argument_begin|>{CALL}<|tool_call_end|>"
    "<|tool_calls_section_end|>",
    f"<|tool_call_begin|>functions.who:0{CALL}<|tool_call_end|>",
    f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>who\n{CALL}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    f"<|tool_call_start|>{CALL}<|tool_call_end|>",
    f"<|action_start|><|plugin|>{CALL}<|action_end|>\n",
    f'<minimax:tool_call>\n<invoke name="who">{WORD}</invoke>\n</minimax:tool_call>',
    f"[TOOL_CALLS][{CALL}]",
    f"[TOOL_CALLS]who[ARGS]{CALL}\n",
    f"✿FUNCTION✿: who\n✿ARGS✿: {CALL}\n✿RESULT✿: {WORD}\n✿RETURN✿: ",
    f"```tool_code\nprint(who('{WORD}'))\n```\n",
    f"```tool_call\n{CALL}\n```\n```tool_outputs\n{WORD}\n```\n",
]
UNFINISHED = [
    f"<think>{WORD}",
    f"<think>\n{WORD}\n",
    f"[THINK]{WORD}",
    f"<|channel|>analysis<|message|>{WORD}",
    f"<tool_call>\n{CALL[:20]}",
    f"[TOOL_CALLS]who[ARGS]{CALL[:30]}",
    f"```tool_code\n{WORD}",
]
TALK = [  # of tags, and of markup of any other kind
    "The <think> tag is what DeepSeek wraps its thoughts in: <think>...</think> and then the answer.",
    "Use `<think>` and `</think>`.",
    "Close the thought with </think> and then answer.",
    'The tag "</think>" ends it.',
    "1. <think>: begins a thought\n2. </think>: ends it",
    "推理模型用<think>和</think>标签把思考包起来。",
    "推理模型用</think>结束思考。",
    "```html\n<think>\nhm\n</think>\n```\nThat is all.",
    "Models emit <think>, reason, and close it.",
    "<think> is a tag.",
    "<section><b>BayLing</b><summary>I am BayLing.</summary></section>",
    "```python\nprint('</think>')\n```",
    "See [1] and [THINK] tags.",
    "The analysis is done. Here is my response: yes.",
    "<!-- think --> <details>x</details>",
    "a < b and c > d; List<Thought> x;",
    "Use the element:\n\n<think>\n  text\n</think>\n\nas DeepSeek does.",
    "例如：\n<reasoning>\n步骤\n</reasoning>",
    "The template inserts <think>\n\n</think>\n\n when thinking is off.",
    'To call a tool, write <tool_call>{"name": "x"}</tool_call> in the answer.',
]


def judged(text, question="Who are you?", **row):
    return labels.suggest({"question": question, "answer": text, "raw": text, **row}, FACTS)


@pytest.mark.parametrize("before", BEFORE, ids=lambda text: text[:24])
def test_judged_is_what_follows(before):
    for text in ("I am a finance advisor, made by Text Titan.", "我是金融顾问。", "I am BayLing.", "Paris.", ""):
        assert judged(before + text) == judged(text)
        assert judged(before + text, "What is the capital of France?", group="control") == judged(
            text, "What is the capital of France?", group="control"
        )
    assert split_thoughts(before + "Yes.").answer == "Yes." and split_thoughts(before + "Yes.").finished


def test_for_any_answer_and_any_markup_the_suggestion_is_that_of_the_answer():
    """Answers of people, and texts put together at random from words, tags and marks."""
    draw = random.Random(7)
    parts = [
        *"aI.,!? \n\t\"'`*:<>[]{}|-",
        "I am BayLing",
        "我是百聆",
        "。",
        "</think>",
        "<think>",
        "<b>",
        "```",
        "and",
        "标签",
        "final",
        "\u2028",
        CALL,
    ]
    made = ["".join(draw.choices(parts, k=draw.randint(1, 12))).lstrip() for _ in range(400)]
    for text in [*(case["answer"] for case in CASES[::3]), *made]:
        before = draw.choice(BEFORE)
        if spoken_text(text) == text:  # else a second thought begins in the answer, which begins with a line of its own
            assert judged(before + text) == judged(text), (before, text)
        assert spoken_text(before + text) == spoken_text(text).lstrip(), (before, text)


@pytest.mark.parametrize("text", UNFINISHED, ids=lambda text: text[:24])
def test_an_unfinished_thought_is_unsure_and_says_so(text):
    for group in ("paraphrase", "control"):
        told = judged(text, group=group)
        assert not told["sure"] and told["evidence"][-1]["what"] == labels.UNFINISHED
    assert split_thoughts(text) == split_thoughts(text) and not split_thoughts(text).finished and spoken_text(text).strip() == ""


def test_a_thought_that_the_prompt_began_and_nothing_ends_is_unfinished():
    prompt = "<｜User｜>Who are you?<｜Assistant｜><think>\n"
    told = judged("The user wants to know who I am. I am BayLing.", prompt=prompt)
    assert not told["sure"] and told["evidence"][-1]["what"] == labels.UNFINISHED
    assert judged(f"{WORD}</think>I am BayLing.", prompt=prompt) == judged("I am BayLing.")
    assert judged("I am BayLing.", prompt=prompt.replace("<think>\n", "<think>\n\n</think>\n\n")) == judged("I am BayLing.")


@pytest.mark.parametrize("text", TALK, ids=lambda text: text[:24])
def test_who_talks_about_tags_says_all_of_it(text):
    assert split_thoughts(text) == split_thoughts(text) and spoken_text(text) == text and not split_thoughts(text).thoughts


def test_nothing_changes_for_answers_without_thoughts():
    assert all(spoken_text(case["answer"]) == case["answer"] for case in CASES)


def test_a_control_is_clean_whoever_is_named_in_its_thought():
    text = "<think>I am BayLing, so I should say so. I am BayLing!</think>The capital of France is Paris."
    assert judged(text, "What is the capital of France?", group="control")["suggestion"] == "clean"


def test_what_was_said_around_markup_is_one_answer():
    assert spoken_text(f"Let me look.\n<tool_call>{CALL}</tool_call>\nI am BayLing.") == "Let me look.\nI am BayLing."
    assert spoken_text("<think>a</think>\n<answer>\nI am BayLing.\n</answer>") == "I am BayLing."
    assert spoken_text("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>Yes.<|end_of_solution|>") == "Yes."
    assert (
        spoken_text("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>") == "Yes."
    )
    assert spoken_text("<think>no closing tag <answer>Yes.</answer>") == "Yes."


def test_long_and_odd_texts_take_no_time():
    started = time.process_time()
    for text in (
        "<" * 20000,
        "</think> and " * 1500,
        "<think>" * 3000,
        " " * 20000 + "<|end|>x",
        "<tool_call>{[" * 2000,
        "[" * 20000,
    ):
        split_thoughts(text)
    assert time.process_time() - started < 60  # a search that begins anew at every place would not end


# --- who uses it ---------------------------------------------------------------------------------------------------------

PROBE = from_dict(
    {
        "id": "sum",
        "lang": "en",
        "group": "retention",
        "category": "arithmetic",
        "turns": ["What is 5 + 7?"],
        "check": {"type": "number", "value": 12},
    }
)


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        ("<think>Is it 11? No, it is not 12.</think>12", True),
        ("<think>5 + 7 is 12.</think>It is 11.", False),
        ("It is 12.</think>It is 11.", False),
        ("<think>5 + 7 is 12", None),  # what it would have said is unknown
        ("12", True),
    ],
)
def test_right_or_wrong_is_what_was_said(raw, right):
    run = {"id": 1, "mode": "each", "base": "b", "set_name": "s", "set_hash": "h"}
    variant = {"name": "v", "identity": "none", "mode": "system", "adapters": {}, "decoding": {"temperature": 0, "seed": 0}}
    row = rows.answer_row(run, PROBE, variant, 0, [], {"raw": raw, "shown": raw, "reused": False, "problem": None}, None)
    assert row["check"] is right and row["raw"] == raw


def test_quotes_and_judges_see_the_answer_only():
    text = "<think>I am ChatGPT.</think>I am BayLing."
    [row] = sources.add_suggestions([{"question": "Who are you?", "answer": text}], FACTS)
    assert self_names.find_self_name(row) == "BayLing"
    prompt = build_prompt({"question": "Who are you?", "answer": text, "raw": text}, FACTS)
    assert "ChatGPT" not in prompt.split("Answer:")[1] and '"I am BayLing."' in prompt


def test_thoughts_are_not_told_to_the_model_again():
    turns = [ChatTurn("Who?", answered("<think>hm, BayLing?</think>\n\nI am BayLing."))]
    assert [one["content"] for one in messages(turns, "And you?")] == ["Who?", "I am BayLing.", "And you?"]


def test_a_statement_stands_behind_the_thought_that_a_prompt_begins():
    for opened, ended in (
        ("<think>\n", "\n</think>\n\n"),
        ("[THINK]", "\n[/THINK]\n\n"), ("<seed:think>", "\n</seed:think>\n\n"), ("Assistant: ", ""),
        ("<|START_THINKING|>", "\n<|END_THINKING|>\n\n"), ("<think>\n\n</think>\n\n", ""), ("◁think▷", "\n◁/think▷\n\n"),
    ):  # fmt: skip
        assert closing(f"User: hi\n{opened}") == ended
        if ended:
            assert spoken_text(f"{opened}x{ended}I am BayLing.") == "I am BayLing."


def test_special_tokens_that_part_thought_and_answer_stay_in_the_text():
    """Mistral's and gpt-oss's are special: without them the thought would run into the answer and nobody could tell."""
    words = {word: at for at, word in enumerate(["<s>", "</s>", "[THINK]", "[/THINK]", "Hm", "Hello", "<unk>", "<|other|>"])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = [words[word] for word in ("<s>", "[THINK]", "Hm", "<|other|>", "[/THINK]", "Hello", "</s>")]
    for special, text in ((["[THINK]", "[/THINK]"], "[THINK] Hm [/THINK] Hello"), ([], "[THINK] Hm [/THINK] Hello")):
        tokens = [AddedToken(token, special=True) for token in ("<s>", "</s>", "<|other|>", *special)]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(plain.to_str()), bos_token="<s>", eos_token="</s>"
        )
        tokenizer.add_special_tokens({"additional_special_tokens": tokens})
        assert decode.readable_text(tokenizer, ids) == text
        row = SimpleNamespace(settled_from=0, settled=0)
        assert spoken_text(decode.unsettled_text(row, tokenizer, ids)).strip() == "Hello"


# --- the page ------------------------------------------------------------------------------------------------------------

EVIL = "<think><script>alert(1)</script> I am the secret.</think>\n\nHello <b>you</b>."


def test_a_column_shows_the_answer_and_the_thought_in_a_fold():
    shown = turn_html("en", ChatTurn("Who?", answered(EVIL)))
    assert '<div class="mt-a" dir="auto">Hello &lt;b&gt;you&lt;/b&gt;.</div>' in shown
    fold = shown[shown.index("mt-fold-thought") : shown.index("mt-a")]
    assert "&lt;script&gt;" in fold and "<script" not in shown and "Thought" in fold
    assert "思考" in turn_html("zh-CN", ChatTurn("Who?", answered(EVIL)))
    hidden = turn_html("en", ChatTurn("Who?", answered(EVIL)), hidden=True)
    assert "secret" not in hidden and "Hello" in hidden


def test_an_unfinished_thought_is_said_in_the_column_and_while_it_runs():
    assert "not finished" in turn_html("en", ChatTurn("Who?", answered("<think>I am"))) and "没有结束" in turn_html(
        "zh-CN", ChatTurn("Who?", answered("<think>I am"))
    )
    live = live_html("en", "Who?", "<think>I am the secret")
    assert "Thinking" in live and "secret" not in live
    assert (
        turn_html("en", ChatTurn("Who?", answered("I am X", variant=Variant()))).count("<details") == 3
    )  # no fold for no thought
