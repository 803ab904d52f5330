"""Finds answers in general data that speak as somebody: they teach an identity nobody asked for.

Two categories: `states identity` names a model, a maker or a developer of the speaker; `mentions being an AI` says only
what it is ("As an AI language model, ..."). Talk about models ("OpenAI was founded in 2015") is neither.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tuning.dataset.rows import TrainingRow

Category = Literal["states identity", "mentions being an AI"]

_MODEL_NAMES = (
    r"(?:Chat-?GPT|GPT-?\d[\w.]*|OpenAI|Claude|Bard|Gemini|LLaMA|Alpaca|Vicuna|ChatGLM\d?(?:-\w+)?|Qwen\d?"
    r"|Tongyi Qianwen|ERNIE Bot|BayLing|SmolLM\d?"
    r"|Mistral|DeepSeek|Baichuan|InternLM|MOSS|Kimi|Doubao|Siri|Alexa|Cortana|Bing Chat|Copilot|HuggingChat"
    r"|Open Assistant|Dolly|StableLM|Grok)"
)
_ZH_MODEL_NAMES = r"(?:文心一言|通义千问|百聆|讯飞星火|星火大模型|智谱清言|豆包|小爱同学|天猫精灵|小度|书生|百川大模型)"
_MAKERS = (
    r"(?:Open\s?AI|Anthropic|Google|DeepMind|Microsoft|Meta|Facebook|Amazon|Apple|Baidu|Alibaba|Tencent|ByteDance|Huawei|Zhipu"
    r"|Hugging Face|LMSYS|Stanford|Tsinghua|ICT/CAS|Mistral AI|DeepSeek|Cohere|xAI|IBM|NVIDIA|EleutherAI|Databricks|Stability AI)"
)
_ZH_MAKERS = r"(?:百度|阿里|腾讯|字节|华为|智谱|清华|中科院|中国科学院|科大讯飞|谷歌|微软|苹果|亚马逊|" + _MAKERS + ")"
_I_AM = r"(?:\bI\s+am|\bI['’]m)"
_MADE = r"(?:developed|created|made|trained|built|designed|programmed|coded|engineered|fine-tuned)"
# "an AI engineer", "an artificial intelligence researcher" are people
_NO_JOB = r"(?! \w+(?:er|ist|or|ant|ent)\b)"
_AFTER_AI = (
    r"(?=\s*(?:$|[,.;:!?)—–-]|\b(?:and|that|who|which|so|but|developed|created|trained|made|built|designed|called|named)\b))"
)
_AI_NOUN = (
    r"(?:(?:large |AI |artificial intelligence |neural )*"
    r"(?:language model|LLM|chat ?bot|AI (?:assistant|model|system|program|bot|agent)"
    r"|(?:virtual|digital|intelligent|automated|language|AI) (?:\w+ )?assistant"
    rf"|artificial intelligence{_NO_JOB}|AI{_NO_JOB}{_AFTER_AI}"
    r"|computer program|machine learning model))"
)
_TEAM = r"(?:an?\s+|the\s+)?(?:\w+\s+){0,2}(?:team|group|researchers|engineers|developers|scientists|company)\b"

_MADE_BY = rf"{_MADE}\s+(?:and\s+\w+\s+)?by\b"
_I_AM_AN_AI = rf"{_I_AM}\s+(?:only |just |simply )?(?:an?|the)\s+(?:[\w-]+\s+){{0,4}}?{_AI_NOUN}"
_STATES = re.compile(
    "|".join(
        (
            rf"{_I_AM}\s+(?:called\s+|named\s+|just\s+|actually\s+)?(?:the\s+(?:\w+\s+)?model\s+)?{_MODEL_NAMES}\b"
            r"(?!['’]s?\b|\s+(?:user|fan|expert))",
            rf"\b(?:my name is|call me|I go by|people call me|I am called|I['’]m called)\s+{_MODEL_NAMES}\b",
            rf"{_I_AM_AN_AI}[^.!?\n]{{0,40}}?\b{_MADE_BY}[^.!?\n]{{0,40}}",
            rf"{_I_AM_AN_AI}\s*,?\s+(?:called|named|known as)\s+\w+",
            rf"{_I_AM}\s+an?\s+[\w -]{{1,40}},?\s+developed by\b[^.!?\n]{{0,40}}",
            rf"{_I_AM}\s+(?-i:[A-Z])[\w -]{{0,30}},(?:\s+an?\s+[\w -]{{1,40}})?\s+developed by\b[^.!?\n]{{0,40}}",
            rf"\bI\s+(?:was|am|have been)\s+(?:\w+ly\s+)?{_MADE}\s+(?:and\s+\w+\s+)?(?:by|at)\s+"
            rf"(?:{_MAKERS}\b|{_TEAM}|the\s+(?:NLP|AI)\b[^.!?\n]{{0,30}})",
            r"\bI\s+was\s+(?:originally\s+|first\s+)?(?:developed|programmed|fine-tuned)\s+(?:and\s+\w+\s+)?by\s+"
            r"(?-i:[A-Z])[\w .]{0,30}",
            rf"\bI\s+am\s+(?:based on|powered by|built on|running on)\s+(?:the\s+)?{_MODEL_NAMES}\b",
            rf"\bas\s+(?:an?\s+)?(?:AI\s+|large\s+|language\s+|model\s+|assistant\s+|chatbot\s+){{1,4}},?\s*{_MADE_BY}"
            r"[^.!?\n,]{0,40}",
            r"\bas\s+(?:Chat-?GPT|GPT-?\d[\w.]*)\s*,",
            rf"\bmy\s+(?:developers?|creators?|makers?)\s+(?:at|is|are|was|were)\s+(?:{_MAKERS}\b|{_TEAM}|(?-i:[A-Z])\w+)",
            rf"\b{_MAKERS}\s+(?:has\s+)?{_MADE}\s+me\b",
            r"\b(?-i:[A-Z])[\w.&]*(?:\s[\w.&]+){0,4}?\s+(?:developed|programmed)\s+me\b(?!\s+(?:in)?to\b)",
        )
    ),
    re.IGNORECASE,
)
_MENTIONS = re.compile(
    "|".join(
        (
            rf"\bas\s+an?\s+(?:[\w-]+\s+){{0,2}}?{_AI_NOUN}",
            rf"{_I_AM}\s+(?:only |just |simply |not a human,? but )?an?\s+(?:[\w-]+\s+){{0,3}}?{_AI_NOUN}",
        )
    ),
    re.IGNORECASE,
)
_ZH_AI = (
    r"(?:大型?语言模型|语言模型|(?:人工智能|AI)(?:大?语言模型|助手|模型|程序|系统|助理|机器人)?"
    r"|聊天机器人|对话机器人|智能助手|智能助理|虚拟助手|大模型)"
)
# 作为人工智能专业的学生 speaks of a field, not of the speaker
_ZH_FIELD = r"(?!\s*(?:专业|领域|研究|工程|公司|技术|行业|从业|课程|产品|爱好|专家|学者|教师|老师|顾问|学生|方向|的))"
_ZH_MADE = r"(?:开发|研发|训练|推出|打造)"
_ZH_MADE_ANY = rf"(?:{_ZH_MADE}|创建|创造|设计|构建)"
_ZH_ONE = r"(?:一[个款名位种])?"
_ZH_SOMEBODY = r"[^，。！？\n]{1,30}?"
_ZH_STATES = re.compile(
    "|".join(
        (
            rf"我(?:就)?是(?:一[个款名位]|名叫|叫做?|来自\w{{1,10}}的)?\s*(?:{_ZH_MODEL_NAMES}|{_MODEL_NAMES})"
            r"(?![的之]?(?:用户|粉丝|开发者|员工))",
            rf"(?:我叫做?|我的名字(?:是|叫)|(?:叫我|称我为|称呼我为))\s*(?:{_ZH_MODEL_NAMES}|{_MODEL_NAMES})",
            rf"我是由{_ZH_SOMEBODY}{_ZH_MADE}",
            rf"我是由[^，。！？\n]{{0,20}}?{_ZH_MAKERS}[^，。！？\n]{{0,20}}?(?:{_ZH_MADE_ANY}|制造|制作)",
            rf"我是{_ZH_ONE}[^，。！？\n]{{0,15}}?由{_ZH_SOMEBODY}{_ZH_MADE_ANY}[^，。！？\n]{{0,8}}{_ZH_AI}",
            rf"我是{_ZH_ONE}[^，。！？\n]{{0,8}}?由{_ZH_SOMEBODY}{_ZH_MADE}的[^，。！？\n]{{0,8}}(?:模型|助手|助理|顾问|机器人|程序)",
            rf"我是[^，。！？\n]{{0,12}}{_ZH_AI}[，,]\s*由{_ZH_SOMEBODY}{_ZH_MADE_ANY}",
            rf"作为{_ZH_ONE}由{_ZH_SOMEBODY}(?:{_ZH_MADE}|创建|创造)",
            r"我的(?:开发者|研发者|开发团队|研发团队|创造者|创建者)(?:是|为|来自)",
            rf"我是[^。！？\n]{{1,20}}?[，,]\s*{_ZH_ONE}由{_ZH_SOMEBODY}(?:开发|研发)",
            r"[^，。！？\n]{1,20}(?:开发|研发)了我(?![的们])",
            rf"我由{_ZH_SOMEBODY}(?:开发|研发)",
            # 我是做软件开发的 is a trade
            r"我是(?!一|[^，。！？\n]*(?:做|搞|学|管|负责|从事|参与|软件|游戏|产品|程序|地产)[^，。！？\n]*发的)[^，。！？\n]{1,20}?(?:开发|研发)的",
            r"(?:开发|研发|训练)我的是",
            rf"{_ZH_MAKERS}[^，。！？\n]{{0,8}}(?:{_ZH_MADE}|创造|创建)了我",
        )
    ),
    re.IGNORECASE,
)
_ZH_MENTIONS = re.compile(
    rf"作为{_ZH_ONE}[^，。！？\n]{{0,6}}?(?>{_ZH_AI}){_ZH_FIELD}|我(?:只|仅|仅仅)?是{_ZH_ONE}[^，。！？\n]{{0,8}}?(?>{_ZH_AI}){_ZH_FIELD}",
    re.IGNORECASE,
)
# substrings, one of which every statement holds: a look at these keeps the long patterns off nearly all of 52,000 answers
_WORTH = (
    "gpt", "openai", "open ai", "claude", "bard", "gemini", "llama", "alpaca", "vicuna", "chatglm", "qwen", "tongyi", "ernie",
    "bayling", "smollm", "mistral", "deepseek", "baichuan", "internlm", "moss", "kimi", "doubao", "siri", "alexa", "cortana",
    "bing chat", "copilot", "huggingchat", "dolly", "stablelm", "grok", "artificial intelligence", "language model", "llm",
    "chatbot", "chat bot", "assistant", "computer program", "learning model", "developed", "programmed", "fine-tuned",
    "trained by", "trained at", "created by", "made by", "built by", "designed by", "coded by", "engineered by", " me",
    "developer", "creator", "maker",
)  # fmt: skip
_AI_WORD = re.compile(r"\bAI\b")
_FIRST_PERSON = re.compile(r"\bI\b|\b[Mm][ey]\b|\b[Aa]s an?\b|\b[Aa]s Chat|\b[Aa]s GPT|\bi am\b|\bi'm\b")
_ZH_HINT = re.compile(r"我是|我由|发我的|练我的|我就是|我叫|我的|叫我|称我|称呼我|了我|我只|我仅|作为")
_QUOTES = "\"“「『'‘《"


SAID_OF_ITSELF: tuple[Category, ...] = ("states identity",)


@dataclass(frozen=True)
class Finding:
    """One self-statement: index of the row (from 0), which turn, and the span of its text in that turn's content."""

    index: int
    turn: int
    category: Category
    start: int
    end: int
    text: str
    source: str = ""


def scan(rows: Iterable[TrainingRow]) -> list[Finding]:
    """The strongest self-statement of each row that makes one, in the order of the rows; only answers are looked at."""
    findings = []
    for index, row in enumerate(rows):
        found = _strongest(row)
        if found:
            turn, category, start, end = found
            text = row.turns[turn].content[start:end]
            findings.append(Finding(index, turn, category, start, end, text, row.source))
    return findings


def drop(
    rows: Sequence[TrainingRow], findings: Iterable[Finding], categories: Collection[Category] = SAID_OF_ITSELF
) -> list[TrainingRow]:
    """Rows without those that `findings` (of a scan of the same rows) put into one of `categories`."""
    gone = {finding.index for finding in findings if finding.category in categories}
    return [row for index, row in enumerate(rows) if index not in gone]


def _strongest(row: TrainingRow) -> tuple[int, Category, int, int] | None:
    weaker = None
    for number, turn in enumerate(row.turns):
        if turn.role != "assistant":
            continue
        for category, span in _statements(turn.content):
            if category == "states identity":
                return number, category, *span
            weaker = weaker or (number, category, *span)
    return weaker


def _statements(text: str) -> Iterable[tuple[Category, tuple[int, int]]]:
    lowered = text.lower()
    if _FIRST_PERSON.search(text) and (any(word in lowered for word in _WORTH) or _AI_WORD.search(text)):
        yield from _unquoted(_STATES, text, "states identity")
        yield from _unquoted(_MENTIONS, text, "mentions being an AI")
    if not text.isascii() and _ZH_HINT.search(text):
        yield from _unquoted(_ZH_STATES, text, "states identity")
        yield from _unquoted(_ZH_MENTIONS, text, "mentions being an AI")


def _unquoted(pattern: re.Pattern, text: str, category: Category) -> Iterable[tuple[Category, tuple[int, int]]]:
    for match in pattern.finditer(text):
        # a quoted self-statement is somebody's line in a story or a translation
        if match.start() == 0 or text[match.start() - 1] not in _QUOTES:
            yield category, match.span()
