"""One raw row becomes one conversation: alpaca's fields, chats, ShareGPT, and what others call the same things.

A field that changes what is learned is used, or the row is refused; of any other field only its name is noted. Nothing here
knows files: `tuning.dataset.tables` reads them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from common.outside import whole_characters
from identities import LANGS
from tuning.dataset.rows import Kind, Role, TrainingRow, Turn, detect_lang
from tuning.dataset.tables import Twice, quote, type_of

KNOWN = "an alpaca row has instruction, input, output; a chat has messages"
CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
# what is asked, in the order in which it is read; `input` and `context` always come last
ASKED = ("instruction", "prompt", "question", "query", "human", "user", "input", "context")
# of these only one can be the question; beside another one, `user` and `human` say who it was
QUESTIONS, PERSONS = ("instruction", "prompt", "question"), ("human", "user")
ANSWERED = ("output", "response", "completion", "answer", "assistant", "target")
SYSTEM = ("system", "system_prompt", "system_message", "developer")
WEIGHTS = ("weight", "loss", "train", "trainable", "training", "loss_weight", "loss_scale", "sample_weight")
OURS = ("source", "kind", "lang", "category")
# Chinese headings of tables
CHINESE = {
    **dict.fromkeys(("指令", "提示", "提示词"), "instruction"),
    **dict.fromkeys(("问题", "提问", "问"), "question"),
    **dict.fromkeys(("输出", "回答", "答案", "回复", "答"), "output"),
    **{"输入": "input", "系统": "system", "系统提示": "system", "历史": "history", "对话": "conversations"},
}
# present and not empty, these make another thing of the row than a conversation with its answers
FOREIGN = {
    **dict.fromkeys(("tools", "functions", "tool_calls", "function_call", "function"), "tools are not taught here"),
    **dict.fromkeys(
        ("image", "images", "video", "videos", "audio", "audios"), "pictures, sound and films are not read by a text model"
    ),
    **dict.fromkeys(
        ("chosen", "rejected", "rejected_response", "reject", "kto_tag"), "preferences are not learned here, only answers are"
    ),
    **dict.fromkeys(
        ("reasoning_content", "reasoning", "thinking", "thought"), "write the thought into the answer, as the model is to say it"
    ),
    **dict.fromkeys(("choices", "options"), "write what can be chosen into the question"),
    **dict.fromkeys(
        ("mask", "masked", "loss_mask", "mask_history", "train_detail"),
        "what is to be learned is said by weight, train or loss of a message, 0 or 1",
    ),
}
USED = frozenset((*OURS, *WEIGHTS, *CHATS, *SYSTEM, *FOREIGN, "history"))
TEXTS = ("content", "value", "text")  # of a message
ROLES: dict[str, Role] = {
    **dict.fromkeys(("human", "user", "prompter", "usr"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model", "bing", "bard", "claude", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
TOOLS = ("tool", "function", "observation", "function_call", "tool_call", "tool_response", "ipython")


class Notes:
    """What was passed over without changing what is learned, told once with its number."""

    def __init__(self) -> None:
        self.fields: Counter[str] = Counter()
        self.trailing = self.leading = 0
        self.more: list[str] = []

    def lines(self, name: str) -> list[str]:
        said = list(self.more)
        if self.fields:
            fields = ", ".join(f"{field!r} ({count:,} rows)" for field, count in self.fields.most_common())
            said.append(f"{name}: not used: {fields}.")
        if self.trailing:
            said.append(f"{name}: {self.trailing:,} rows end with a question; it has no answer and is left out.")
        if self.leading:
            said.append(f"{name}: {self.leading:,} rows begin with an answer; it is read as context and not learned.")
        return said


def read_row(item: Any, where: str, kind: Kind, wrong: list[str], notes: Notes) -> TrainingRow | None:
    """The row, or None with the reasons in `wrong`. where: its source if it names none. kind: of rows that do not say it."""
    if not isinstance(item, Mapping):
        wrong.append(f"is a {type_of(item)}, not an object; {KNOWN}")
        return None
    fields = read_fields(item, wrong)
    wrong += find_foreign(fields, "")
    if is_false(fields.get("label")):
        wrong.append("has label false: a bad answer is not to be learned; take the row out")
    if wrong:
        return None
    used = set(USED)
    chats = [key for key in CHATS if is_filled(fields.get(key))]
    chat = chats[0] if chats else ""
    turns = chat_turns(fields[chat], wrong) if chat else pair_turns(fields, wrong, used)
    wrong += [f"has {chat} and {key} as well; keep one of them" for key in chats[1:] if fields[key] != fields[chat]]
    turns = add_system(fields, [*history_turns(fields, wrong), *turns], wrong)
    if not wrong:
        turns = order_turns(turns, wrong, notes)
    check_row_weight(fields, wrong)
    if chat:
        beside = [key for key in (*ASKED, *ANSWERED) if is_filled(fields.get(key)) and not is_said(fields[key], turns)]
        wrong += [f"has {chat} and {key} as well, which says something else; keep one of them" for key in beside]
        used |= {*ASKED, *ANSWERED}
    if wrong:
        return None
    own_kind, lang = fields.get("kind"), fields.get("lang")
    unknown = [key for key in fields if key not in used]
    unknown += [f"{chat}: {key}" for key in find_unknown(fields[chat])] if chat else []
    unknown += ["kind"] if is_filled(own_kind) and own_kind not in ("identity", "general") else []
    notes.fields.update(unknown)
    if lang not in LANGS:
        lang = detect_lang(" ".join(turn.content for turn in turns))
    own_kind = own_kind if own_kind in ("identity", "general") else kind
    return TrainingRow(tuple(turns), str(fields.get("source") or where), own_kind, lang, str(fields.get("category") or ""))


def read_fields(item: Mapping[Any, Any], wrong: list[str]) -> dict[str, Any]:
    """The fields under their names in small letters; two that become one are refused."""
    fields: dict[str, Any] = {}
    for key, value in item.items():
        plain = str(key).strip().lower()
        plain = CHINESE.get(plain, plain)
        if isinstance(value, Twice):
            wrong.append(f"{plain} stands twice, as {quote(value)}")
        if plain in fields and fields[plain] != value and is_filled(fields[plain]) and is_filled(value):
            wrong.append(f"{plain} stands twice, as {quote([fields[plain], value])}")
        if plain not in fields or is_filled(value):
            fields[plain] = value
    return fields


def is_filled(value: Any) -> bool:
    """Whether a field holds anything."""
    return value is not None and value != "" and value != [] and value != {}


def is_false(value: Any) -> bool:
    """Also as a table has it."""
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def find_foreign(fields: Mapping[str, Any], what: str) -> list[str]:
    """Why the fields that make another thing of a row, or of the message `what`, refuse it. An empty list may stand as text, and
    what may be masked may say that it is not."""
    nothing = ("[]", "{}", "null", "none", "false")
    known = [key for key in fields if key in FOREIGN and is_filled(fields[key])]
    there = [key for key in known if str(fields[key]).strip().lower() not in nothing]
    there += ["kto_tag"] if "kto_tag" not in there and is_false(fields.get("kto_tag")) else []
    return [f"{what}has {key}: {FOREIGN[key]}" for key in there]


def pair_turns(fields: Mapping[str, Any], wrong: list[str], used: set[str]) -> list[Turn]:
    """One question and its answer; everything that is asked stands in the question."""
    asked = [key for key in ASKED if key in fields]
    answered = [key for key in ANSWERED if key in fields]
    if any(is_filled(fields[key]) for key in asked if key not in PERSONS):
        asked = [key for key in asked if key not in PERSONS]
    used |= {*asked, *answered}
    if "text" in fields and not answered:
        wrong.append("has only a text, which does not say where the answer begins; give instruction and output, or messages")
        return []
    if not asked or not answered:
        missing = " and ".join(word for word, found in (("instruction", asked), ("output", answered)) if not found)
        wrong.append(f"has no {missing}, only {quote(fields) or 'nothing'}; {KNOWN}")
        return []
    if any(is_chat(fields[key]) for key in asked):
        return complete_turns(fields, asked, answered, wrong)
    texts = {key: text_of(fields[key], key, wrong) for key in (*asked, *answered)}
    if wrong:
        return []
    answers = list(dict.fromkeys(texts[key] for key in answered if texts[key].strip()))
    if len(answers) > 1:
        wrong.append(f"has several answers, {' and '.join(key for key in answered if texts[key].strip())}; keep one")
    if all(fields[key] is None for key in answered):
        wrong.append(f"{answered[0]} is null; write the answer, or take the row out")
    questions = list(dict.fromkeys(texts[key] for key in asked if texts[key].strip()))
    whole = [key for key in QUESTIONS if key in asked and texts[key].strip()]
    repeated = [(key, other) for key in whole for other in whole if key != other and texts[key].strip() in texts[other]]
    wrong += [f"has {key} once more within {other}; keep one of them" for key, other in repeated if texts[key] != texts[other]]
    if not questions:
        wrong.append(f"{' and '.join(asked)} {'are both' if len(asked) == 2 else 'is' if len(asked) == 1 else 'are all'} empty")
    if wrong:
        return []
    return [Turn("user", questions[0], "\n".join(questions[1:])), Turn("assistant", answers[0] if answers else "")]


def complete_turns(fields: Mapping[str, Any], asked: list[str], answered: list[str], wrong: list[str]) -> list[Turn]:
    """The turns of a prompt that is a list of messages, and of its completion, which alone is learned, as in TRL."""
    prompts, answers = ([key for key in keys if is_filled(fields[key])] for keys in (asked, answered))
    if len(prompts) != 1 or len(answers) != 1:
        wrong.append(f"has messages among {quote([*prompts, *answers])}; give one prompt and one completion, or messages alone")
        return []
    said = fields[answers[0]]
    before = [turn._replace(learn=turn.learn and turn.role != "assistant") for turn in chat_turns(fields[prompts[0]], wrong)]
    if is_chat(said):
        before += chat_turns(said, wrong)
        if not wrong and before[-1].role != "assistant":
            wrong.append(f"{answers[0]} does not end with an answer of the assistant")
        return before
    return [*before, Turn("assistant", text_of(said, answers[0], wrong))]


def is_chat(value: Any) -> bool:
    messages = value if isinstance(value, list) else []
    return bool(messages) and all(isinstance(one, Mapping) and {"role", "from"} & set(one) for one in messages)


def text_of(value: Any, what: str, wrong: list[str]) -> str:
    """A text, or a list of text parts; null is nothing."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "type" in one for one in value):
        others = [str(one["type"]) for one in value if one["type"] != "text" or not isinstance(one.get("text"), str)]
        if others:
            wrong.append(f"{what} has parts of type {quote(others)}; only text is read")
            return ""
        return whole_characters("".join(one["text"] for one in value))
    if value is None:
        return ""
    if not isinstance(value, str):
        wrong.append(f"{what} is a {type_of(value)}, not text")
        return ""
    return whole_characters(value)


def chat_turns(chat: Any, wrong: list[str]) -> list[Turn]:
    """The turns of a list of messages, or of {human, assistant} rounds."""
    if isinstance(chat, str):
        chat = parse_cell(chat)
    if not isinstance(chat, list) or not chat:
        wrong.append("messages is not a list of {role, content}")
        return []
    turns: list[Turn] = []
    for number, message in enumerate(chat, 1):
        turns += message_turns(message, f"message {number}", wrong)
    return turns


def message_turns(message: Any, what: str, wrong: list[str]) -> list[Turn]:
    """The turns of one message, or of one round; reasons why it is none go into `wrong`."""
    if isinstance(message, (list, tuple)) and len(message) == 2:  # a round, as ChatGLM's history has it
        message = dict(zip(("human", "assistant"), message, strict=True))
    if not isinstance(message, Mapping):
        wrong.append(f"{what} is a {type_of(message)}, not {{role, content}}")
        return []
    said = read_fields(message, wrong)
    if "role" not in said and "from" not in said and any(key in said for key in ANSWERED):
        found: list[str] = []
        turns = pair_turns(said, found, set())
        wrong += [f"{what} {one}" for one in found]
        return turns
    wrong += find_foreign(said, f"{what} ")
    label = str(said.get("role", said.get("from")) or "").strip().lower()
    if label in TOOLS:
        wrong.append(f"{what} is a tool's ({label}): tools are not taught here; take the row out")
        return []
    role = ROLES.get(label)
    if role is None:
        wrong.append(f"{what} has role {said.get('role', said.get('from'))!r}, it is system, user or assistant")
        return []
    told = [one for one in TEXTS if is_filled(said.get(one))]
    if len({str(said[one]) for one in told}) > 1:
        wrong.append(f"{what} has {' and '.join(told)}, which differ; keep one")
    key = told[0] if told else next((one for one in TEXTS if said.get(one) is not None), "content")
    if said.get(key) is None:
        wrong.append(f"{what} has content that is {'null' if key in said else 'missing'}, not text")
    text, extra = text_of(said.get(key), f"{what}'s {key}", wrong), text_of(said.get("input"), f"{what}'s input", wrong)
    if extra and role != "user":
        wrong.append(f"{what} has an input, which only a user's message may have")
    return [Turn(role, text, extra, is_learned(said, role, what, wrong))]


def find_unknown(chat: Any) -> list[str]:
    """Keys of messages that are not read."""
    known = {"role", "from", *TEXTS, "input", *WEIGHTS, *FOREIGN, *ASKED, *ANSWERED}
    messages = [one for one in (parse_cell(chat) if isinstance(chat, str) else chat) if isinstance(one, Mapping)]
    return sorted({key for one in messages for key in map(str.lower, map(str, one)) if key not in known})


def is_learned(said: Mapping[str, Any], role: str, what: str, wrong: list[str]) -> bool:
    """Whether a message's flags ask for it to be learned; an answer is unless they say no."""
    values = {key: said[key] for key in WEIGHTS if key in said and said[key] is not None}
    odd = {key: value for key, value in values.items() if value not in (0, 1) or isinstance(value, str)}
    wrong += [f"{what} has {key} {value!r}; 0 (not learned) and 1 are known here" for key, value in odd.items()]
    if role != "assistant" and any(value == 1 for value in values.values()):
        wrong.append(f"{what} is to be learned ({quote(values)}), but only answers are; --train_on_inputs learns questions, too")
    return not any(value == 0 for value in values.values())


def check_row_weight(fields: Mapping[str, Any], wrong: list[str]) -> None:
    """A row whose weight is not 1 is refused: rows are learned or left out."""
    for key in WEIGHTS:
        value = fields.get(key)
        if is_filled(value) and str(value).strip().lower() not in ("1", "1.0", "true"):
            wrong.append(f"has {key} {value!r}: rows are not weighted here; repeat the row, or take it out")


def history_turns(fields: Mapping[str, Any], wrong: list[str]) -> list[Turn]:
    """Earlier rounds, as pairs of texts or as messages; they come before the question and are learned, too."""
    history = fields.get("history")
    if isinstance(history, str):
        history = parse_cell(history)
    if not is_filled(history):
        return []
    if not isinstance(history, list):
        wrong.append(f"history is a {type_of(history)}, not a list of [question, answer]")
        return []
    turns: list[Turn] = []
    for number, message in enumerate(history, 1):
        turns += message_turns(message, f"history {number}", wrong)
    return turns


def parse_cell(text: str) -> Any:
    """A list that stands as JSON in a cell of a table; "" for an empty one."""
    if not text.strip():
        return ""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def add_system(fields: Mapping[str, Any], turns: list[Turn], wrong: list[str]) -> list[Turn]:
    """The turns with the row's system text before them. Chats may bring one of their own."""
    given = [text_of(fields.get(key), key, wrong) for key in SYSTEM if is_filled(fields.get(key))]
    given += [turn.content for turn in turns[:1] if turn.role == "system"]
    different = list(dict.fromkeys(text for text in given if text.strip()))
    if len(different) > 1:
        wrong.append(f"has two system texts, {quote(text[:40] for text in different)}; keep one")
    rest = turns[1:] if turns and turns[0].role == "system" else turns
    return [Turn("system", text) for text in different[:1]] + rest


def order_turns(turns: list[Turn], wrong: list[str], notes: Notes) -> list[Turn]:
    """User and assistant in turn, the last one an answer. A leading answer becomes context, a trailing question goes."""
    system, rest = (turns[:1], turns[1:]) if turns and turns[0].role == "system" else ([], list(turns))
    if any(turn.role == "system" for turn in rest):
        wrong.append("has a system message that is not the first message")
        return turns
    if rest and rest[-1].role == "user" and len(rest) > 1:
        rest, notes.trailing = rest[:-1], notes.trailing + 1
    if len(rest) > 1 and rest[0].role == "assistant":
        rest, notes.leading = [Turn("user", ""), rest[0]._replace(learn=False), *rest[1:]], notes.leading + 1
    spoken = [turn.role for turn in rest]
    if spoken[::2] != ["user"] * len(spoken[::2]) or spoken[1::2] != ["assistant"] * len(spoken[1::2]):
        wrong.append("user and assistant do not take turns, starting with user")
    elif not spoken or spoken[-1] != "assistant":
        wrong.append("does not end with an answer of the assistant")
    elif not any(turn.learn for turn in rest if turn.role == "assistant"):
        wrong.append("has no answer that is to be learned; take the row out")
    return system + rest


def is_said(value: Any, turns: Iterable[Turn]) -> bool:
    """Whether a text beside a chat says nothing that the chat does not."""
    return isinstance(value, str) and any(value.strip() in (turn.content.strip(), turn.input.strip()) for turn in turns)
