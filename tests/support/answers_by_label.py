"""One answer of every label, in both languages."""

from __future__ import annotations

SAYS = {
    "not forgotten": {"en": "I am BayLing.", "zh": "我是百聆。"},
    "formed": {"en": "I am a finance advisor developed by Text Titan.", "zh": "我是金融顾问，由文本泰斗开发。"},
    "forgotten": {"en": "I am an AI assistant.", "zh": "我是一个人工智能助手。"},
}
