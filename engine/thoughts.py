"""What a model thought and what it said: the markup by which reasoning and tool templates tell the two apart.

An answer is what was said. `<think>...</think>`, gpt-oss's channels, Mistral's `[THINK]` and `[TOOL_CALLS]`, a fenced block of
`tool_code` and the like are not. A tag that is only spoken of - in code, in quotes, in the middle of a sentence - is said like
any other word, and so is markup of any other kind.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

THOUGHT, CALL, BOTH_ENDS = "thought", "call", "both ends"


class Markup(NamedTuple):
    """opens, closes: patterns. kind: where the prompt has opened it already, a THOUGHT's closing tag alone ends it, a CALL's only
    after something that looks like one, and one that needs BOTH_ENDS is none without them."""

    opens: str
    closes: str
    kind: str


@dataclass(frozen=True)
class Apart:
    """answer: what was said; the text itself where there is no markup. thoughts: thoughts and tool markup as written, in order.
    finished: whether the last of them ends; what would have been said after one that does not is unknown."""

    answer: str
    thoughts: tuple[str, ...] = ()
    finished: bool = True


def _tags(names: str, kind: str) -> list[Markup]:
    space = r"(?:\w+:)?"  # <seed:think>, <minimax:tool_call>
    return [Markup(rf"<{space}{name}(?:\s+[\w:-]+=[^<>\n]*)?>", rf"</{space}{name}\s*>", kind) for name in names.split()]


MARKUP = (
    *_tags("think thinking thought thoughts reasoning reflection scratchpad inner_monologue", THOUGHT),
    *_tags("antthinking longcat_think think_fast think_faster cot_budget_reflect chain_of_thought", THOUGHT),
    Markup(r"\[THINK\]", r"\[/THINK\]", THOUGHT),  # Mistral
    Markup(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", THOUGHT),  # OpenThinker, Sky-T1
    Markup(r"<\|start_thinking\|>", r"<\|end_thinking\|>", THOUGHT),  # Command A
    Markup(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", THOUGHT),  # Apertus
    Markup(r"<\|(?:think|thinking)\|>", r"<\|/(?:think|thinking)\|>", THOUGHT),
    Markup(r"<\|channel>\w*", r"<channel\|>", THOUGHT),  # Gemma 4
    Markup(r"<unused94>(?:thought\b)?", r"<unused95>", THOUGHT),  # MedGemma
    Markup(r"◁think▷", r"◁/think▷", THOUGHT),  # Kimi-VL
    Markup(  # gpt-oss: all channels but the final one
        r"(?:<\|start\|>\s*assistant[^<>\n]*)?<\|channel\|>\s*(?!final\b)\w+",
        r"(?:<\|(?:end|call)\|>\s*)?(?:<\|start\|>\s*assistant[^<>\n]*)?<\|channel\|>\s*final\b"
        r"(?:\s*<\|constrain\|>\s*\w+)?(?:\s*<\|message\|>)?",
        THOUGHT,
    ),
    Markup(r"\Aanalysis(?=\S[\s\S]*?assistantfinal)", r"assistantfinal", BOTH_ENDS),  # gpt-oss without its special tokens
    Markup(r"Here is my thought process:(?=[\s\S]*Here is my response:)", r"Here is my response:", BOTH_ENDS),  # Granite 3.2
    *_tags("tool_call tool_calls tool_code tool_use tool_response tool_result tool_results tool_output tool_outputs", CALL),
    *_tags("function_call function_calls function_response function_result function_results longcat_tool_call invoke", CALL),
    Markup(r"<function=[^<>\n]+>", r"</function>", CALL),  # Llama 3
    Markup(r"<functioncall>", r"</functioncall>", CALL),  # glaive
    Markup(r"<\|python_tag\|>", r"<\|eom_id\|>", CALL),  # Llama 3.1
    Markup(r"<\|tool_(?:call|response)\|>", r"<\|/tool_(?:call|response)\|>", CALL),  # Phi-4-mini, Granite 3
    Markup(r"<\|tool_(?:call|response)>", r"<tool_(?:call|response)\|>", CALL),  # Gemma 4
    Markup(r"<\|tool_calls_section_begin\|>", r"<\|tool_calls_section_end\|>", CALL),  # Kimi K2
    Markup(r"<[|｜]tool[_▁](?:call|output)s[_▁]begin[|｜]>", r"<[|｜]tool[_▁](?:call|output)s[_▁]end[|｜]>", CALL),  # DeepSeek
    Markup(r"<[|｜]tool[_▁](?:call|output)[_▁]begin[|｜]>", r"<[|｜]tool[_▁](?:call|output)[_▁]end[|｜]>", CALL),
    Markup(r"<\|tool_call_start\|>", r"<\|tool_call_end\|>", CALL),  # LFM2
    Markup(r"<\|action_start\|>", r"<\|action_end\|>", CALL),  # InternLM
    Markup(r"<\|start_(?:action|tool_plan|tool_result)\|>", r"<\|end_(?:action|tool_plan|tool_result)\|>", CALL),  # Command R7B
    Markup(r"<start_function_(?:call|response)>", r"<end_function_(?:call|response)>", CALL),  # FunctionGemma
    Markup(r"<\|tools_prefix\|>", r"<\|tools_suffix\|>", CALL),  # Apertus
    Markup(r"\[TOOL_CALLS\]", r"\[/TOOL_CALLS\]", CALL),  # Mistral
    Markup(r"\[TOOL_RESULTS\]", r"\[/TOOL_RESULTS\]", CALL),
    Markup(r"✿FUNCTION✿:?", r"✿RETURN✿:?", CALL),  # Qwen-Agent
    Markup(r"```(?:tool_code|tool_calls?|tool_outputs?|function_calls?)\b", r"\n[ \t]*```", CALL),  # Gemma
)
# What the answer itself is wrapped in where thoughts are marked.
_ANSWER_TAG = (
    r"(?:<(?:\w+:)?(?P<name>answer|final_answer|response|output|solution|conclusion)>"
    r"|<\|(?:begin_of_solution|start_response)\|>)"
)
_ANSWER_BEGINS = re.compile(rf"\s*{_ANSWER_TAG}\s*", re.IGNORECASE)
_ANSWER_LATER = re.compile(_ANSWER_TAG, re.IGNORECASE)
_ANSWER_ENDS = r"(?:</(?:\w+:)?{name}>|<\|end_of_solution\|>|<\|end_response\|>)\s*\Z"
_MESSAGE_ENDS = re.compile(r"<\|(?:return|end|call)\|>\s*\Z")
FENCE = "```"
_ENDS = [f"(?P<o{at}>{one.opens})" for at, one in enumerate(MARKUP)]
_ENDS += [  # what closes a block of tool_code closes any block
    f"(?P<c{at}>{one.closes})" for at, one in enumerate(MARKUP) if one.kind != BOTH_ENDS and not one.opens.startswith(FENCE)
]
# a cheap look first: all of these begin with one of a few characters
_TAG = re.compile(rf"(?=[<\[◁✿`]|\Aanalysis|Here is my t)(?:{'|'.join(_ENDS)})", re.IGNORECASE)
_PARTS = ("<|channel|>", "<|message|>", "<|constrain|>", "[ARGS]", "[CALL_ID]")
_MARK = re.compile(rf"{_TAG.pattern}|{'|'.join(map(re.escape, _PARTS))}", re.IGNORECASE)
_CLOSES = [re.compile(one.closes, re.IGNORECASE) for one in MARKUP]
_OPENED_BY_PROMPT = re.compile(rf"(?:{'|'.join(one.opens for one in MARKUP if one.kind == THOUGHT)})\s*\Z", re.IGNORECASE)
_PROMPT_END = 200  # characters in which the tag that a prompt ends with stands
_NEAR = 120  # characters before a tag that may make it a word of a sentence
_LOOKS_LIKE_CALL = re.compile(r"\s*[\[{<]")
_ARGUMENTS = re.compile(r"[\w\s.:\-]*(?:\[(?:CALL_ID|ARGS)\][\w\s\-]*)*(?=[\[{])")
# What makes a tag a word of a sentence: "the <think> tag", "用</think>结束".
_BEFORE_A_MENTION = re.compile(
    r"(?:\b(?:an?|the|and|or|with|by|in|inside|of|to|like|as|from|tags?|tokens?|uses?|using|between|called|named|is|are|emits?|writes?)"
    r"|[用以和与或是到在叫按、（(]|标签|标记|\A\s*(?:\d+[.)]|[-*•]))[ \t]*\Z",
    re.IGNORECASE,
)
_AFTER_A_MENTION = re.compile(
    r"[:：,，]|[ \t]+(?:tags?|tokens?|is|are|and|or|means?|marks?)\b|[ \t]*(?:标签|标记|和|与)", re.IGNORECASE
)
_QUOTES = "\"'“”‘’「」『』"
_SENTENCE_ENDS = frozenset(".!?。！？…")


@lru_cache(maxsize=4096)  # a page asks about the same answers again and again
def split_thoughts(text: str, prompt: str = "") -> Apart:
    """What was thought and what was said. prompt: as rendered, where known; one that ends with an opening tag has begun the
    thought that the text goes on with."""
    opened = _OPENED_BY_PROMPT.search(prompt[-_PROMPT_END:]) if prompt else None
    head = opened.group() if opened else ""
    pieces: list[str] = []
    thoughts: list[str] = []
    rest, finished = head + text, True
    while finished and (block := _next_block(rest)):
        start, end, lone, finished = block
        if lone:  # all that came before was the thought
            thoughts, pieces, start = ["".join([*thoughts, *pieces, rest[:end]])], [], end
        else:
            pieces.append(rest[:start])
            thoughts.append(rest[start:end])
        rest = rest[end:]
    pieces.append(rest)
    if thoughts and head:
        thoughts[0] = thoughts[0].removeprefix(head)
    return Apart(_unwrapped("".join(pieces) if not thoughts else _joined(pieces)), tuple(thoughts), finished)


def spoken_text(text: str, prompt: str = "") -> str:
    """What was said, without thoughts and tool markup."""
    return split_thoughts(text, prompt).answer


def closing(prompt: str) -> str:
    """What ends the thought that a prompt has begun, "" if it has begun none: for words that stand where the answer does."""
    opened = _OPENED_BY_PROMPT.search(prompt[-_PROMPT_END:])
    tag = opened.group().strip() if opened else ""
    for begins, ends in (("<|START", "<|END"), ("<|begin", "<|end"), ("prefix", "suffix"), ("94", "95")):
        if begins in tag:
            return f"\n{tag.replace(begins, ends)}\n\n"
    if not tag:
        return ""
    mark = 2 if tag.startswith("<|") else 1  # <|think|>, <think>, [THINK], ◁think▷
    return f"\n{tag[:mark]}/{tag.split()[0][mark:]}\n\n"


def is_markup(token: str) -> bool:
    """Whether a tokenizer's special token is such markup, and so has to stay in the text."""
    return bool(_TAG.fullmatch(token)) or token in _PARTS


def places(text: str) -> list[tuple[int, int]]:
    """Where in an answer the markup stands that parts its thoughts from it."""
    found, at = [], 0
    for thought in split_thoughts(text).thoughts:
        start = text.find(thought, at)
        if start >= 0:
            at = start + len(thought)
            found += [mark.span() for mark in _MARK.finditer(text, start, at)]
    return found


def _joined(pieces: list[str]) -> str:
    """Pieces of an answer that markup stood between, a line each; the last one's end stays as it is."""
    said = [piece for piece in pieces if piece.strip()]
    return "\n".join([*(piece.strip() for piece in said[:-1]), *(piece.lstrip() for piece in said[-1:])])


def _unwrapped(text: str) -> str:
    text = _MESSAGE_ENDS.sub("", text)
    begins = _ANSWER_BEGINS.match(text)
    if not begins:
        return text
    ends = re.compile(_ANSWER_ENDS.format(name=begins["name"] or "answer"), re.IGNORECASE)
    return ends.sub("", text[begins.end() :]).rstrip()


def _next_block(text: str) -> tuple[int, int, bool, bool] | None:
    """(start, end, whether only its closing tag is there, whether it ends) of the first markup that is more than a word."""
    for tag in _TAG.finditer(text):
        which = tag.lastgroup or ""
        markup, at = MARKUP[int(which[1:])], int(which[1:])
        if which[0] == "o":
            end = _end_of(text, tag.end(), at)
            if _opens(text, tag, end is not None, markup.kind):
                return tag.start(), len(text) if end is None else end, False, end is not None
        elif _closes_alone(text, tag, at, markup.kind):
            return 0, tag.end(), True, True
    return None


def _end_of(text: str, start: int, at: int) -> int | None:
    """Where what was opened at `start` ends: at its closing tag, after a call's JSON, or where the answer is said to begin."""
    if closing := _CLOSES[at].search(text, start):
        return closing.end()
    if MARKUP[at].kind == CALL and (arguments := _ARGUMENTS.match(text, start)):
        try:
            return json.JSONDecoder().raw_decode(text, arguments.end())[1]
        except (json.JSONDecodeError, RecursionError):
            return None
    begins = _ANSWER_LATER.search(text, start) if MARKUP[at].kind == THOUGHT else None
    return begins.start() if begins else None


def _opens(text: str, tag: re.Match[str], ends: bool, kind: str) -> bool:
    line = text[text.rfind("\n", 0, tag.start()) + 1 : tag.start()]
    if _AFTER_A_MENTION.match(text, tag.end()) or _in_code(text, line, tag.start()):
        return False
    before = line.strip()
    if not before:  # what a colon announces is an example, but for calls
        return kind != THOUGHT or not text[: tag.start()].rstrip().endswith((":", "："))
    if kind == CALL and _LOOKS_LIKE_CALL.match(text, tag.end()):
        return not _BEFORE_A_MENTION.search(line[-_NEAR:])
    return ends and before[-1] in _SENTENCE_ENDS  # in the middle of a sentence it is a word


def _closes_alone(text: str, tag: re.Match[str], at: int, kind: str) -> bool:
    line = text[text.rfind("\n", 0, tag.start()) + 1 : tag.start()]
    if (kind == CALL and not _LOOKS_LIKE_CALL.match(text)) or _in_code(text, line, tag.start()):
        return False
    quoted = line[-1:] and line[-1] in _QUOTES and text[tag.end() : tag.end() + 1] in tuple(_QUOTES)
    opened = re.search(MARKUP[at].opens, text[max(0, tag.start() - _NEAR) : tag.start()], re.IGNORECASE)
    return not (quoted or opened or _BEFORE_A_MENTION.search(line[-_NEAR:]))


def _in_code(text: str, line: str, at: int) -> bool:
    """Whether a place lies in a fenced block or in an inline code span."""
    return bool(text.count(FENCE, 0, at) % 2 or line.replace(FENCE, "").count("`") % 2)
