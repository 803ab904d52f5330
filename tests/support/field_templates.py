"""Small chat templates with the traits of published ones. Each is written for these tests; its name says whose trait it has."""

from __future__ import annotations

from engine.formats import Format

ROLE = "'<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n'"
OPEN = "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"


def loop(user: str, answer: str, opening: str, before: str = "", other: str = "") -> str:
    """A template of the common shape: expressions for a user's turn, an answer, and the text that opens one."""
    other = other or user
    return (
        f"{before}{{%- for m in messages -%}}{{%- if m.role == 'assistant' -%}}{{{{ {answer} }}}}"
        f"{{%- elif m.role == 'system' -%}}{{{{ {other} }}}}{{%- else -%}}{{{{ {user} }}}}{{%- endif -%}}{{%- endfor -%}}"
        f"{{%- if add_generation_prompt -%}}{{{{ {opening} }}}}{{%- endif -%}}"
    )


SHORT = "m.role[0] + ':' + m.content + '|'"
NO_SYSTEM = "{%- if messages[0].role == 'system' -%}{{ raise_exception('system role not supported') }}{%- endif -%}"
TEMPLATES = {
    "qwen2": loop(ROLE, ROLE, "'<|im_start|>assistant\\n'"),
    "qwen2 default system": loop(
        ROLE,
        ROLE,
        "'<|im_start|>assistant\\n'",
        before="{%- if messages[0].role != 'system' -%}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif -%}",
    ),
    "deepseek-r1: drops thoughts and opens one": loop(
        SHORT, "'A:' + m.content.split('</think>')[-1] + eos_token", "'A:<think>\\n'"
    ),
    "deepseek-v3.1: closes a thought in the prompt": loop(
        SHORT, "'A:</think>' + m.content.split('</think>')[-1] + eos_token", "'A:</think>'"
    ),
    "qwen3: an empty thought in the last answer only": (
        "{%- for m in messages -%}{%- if m.role == 'assistant' -%}"
        "{%- set said = m.content.split('</think>')[-1].lstrip('\\n') -%}"
        "{%- set has = '</think>' in m.content -%}"
        "{%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\\n') if has else '' -%}"
        "{{ '<|im_start|>assistant\\n' + ('<think>\\n' + thought + '\\n</think>\\n\\n' if loop.last else '') }}"
        "{{ said + '<|im_end|>\\n' }}"
        "{%- else -%}{{ " + ROLE + " }}{%- endif -%}{%- endfor -%}" + OPEN
    ),
    "qwen3.5: opens a thought that the last answer has, too": loop(
        ROLE,
        "'<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.last else '') + m.content + '<|im_end|>\\n'",
        "'<|im_start|>assistant\\n<think>\\n'",
    ),
    "phi-3: end of text after all turns": loop(ROLE, ROLE, "'<|im_start|>assistant\\n'")
    + ("{%- if not add_generation_prompt -%}{{ eos_token }}{%- endif -%}"),
    "gpt-oss: channels": loop(
        "'<|im_start|>' + m.role + '<|message|>' + m.content + '<|im_end|>'",
        "'<|im_start|>assistant<|channel|>final<|message|>' + m.content + (eos_token if loop.last else '<|im_end|>')",
        "'<|im_start|>assistant'",
    ),
    "mistral v0.3: system before the last question": (
        "{{- bos_token -}}{%- set ns = namespace(last=0, system='') -%}{%- for m in messages -%}"
        "{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}"
        "{%- elif m.role == 'system' -%}{%- set ns.system = m.content + '\\n\\n' -%}"
        "{%- endif -%}{%- endfor -%}{%- for m in messages -%}{%- if m.role == 'user' -%}"
        "{{ '[INST] ' + (ns.system if loop.index0 == ns.last else '') + m.content + '[/INST]' }}"
        "{%- elif m.role == 'assistant' -%}{{ ' ' + m.content + eos_token }}{%- endif -%}{%- endfor -%}"
    ),
    "nemotron: one closing newline after each turn": loop(
        "'<extra_id_1>User\\n' + m.content + '\\n'",
        "'<extra_id_1>Assistant\\n' + m.content + '\\n'",
        "'<extra_id_1>Assistant\\n'",
        other="'<extra_id_0>System\\n' + m.content + '\\n'",
    ),
    "gemma: no system, texts trimmed": loop(
        "'<t>user\\n' + (m.content | trim) + '<|im_end|>\\n'",
        "'<t>model\\n' + (m.content | trim) + '<|im_end|>\\n'",
        "'<t>model\\n'",
        before="{{- bos_token -}}" + NO_SYSTEM,
    ),
    "llama-3: a date in the system turn": loop(
        "'<h>' + m.role + '</h>\\n\\n' + (m.content | trim) + '<|im_end|>'",
        "'<h>assistant</h>\\n\\n' + (m.content | trim) + '<|im_end|>'",
        "'<h>assistant</h>\\n\\n'",
        before="{{- bos_token + '<h>system</h>\\n\\nToday Date: ' + strftime_now('%d %b %Y') + '<|im_end|>' -}}",
    ),
    "smolvlm: lists of parts": (
        "{%- for m in messages -%}{{ m.role + ': ' }}{%- for part in m.content -%}{%- if part.type == 'text' -%}{{ part.text }}"
        "{%- endif -%}{%- endfor -%}{{ '<|im_end|>\\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ 'assistant: ' }}{%- endif -%}"
    ),
    "smollm3: generation blocks": (
        "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{{ '<|im_start|>assistant\\n' }}{% generation %}"
        "{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
        "{%- else -%}{{ " + ROLE + " }}{%- endif -%}{%- endfor -%}" + OPEN
    ),
    "vicuna: one space, no marks": loop(
        "'USER: ' + m.content + ' '", "'ASSISTANT: ' + m.content + eos_token", "'ASSISTANT:'", other="m.content + ' '"
    ),
    "falcon: nothing closes an answer": loop("'User: ' + m.content + '\\n\\n'", "'Falcon: ' + m.content + '\\n\\n'", "'Falcon:'"),
}


def form(name: str) -> Format:
    return Format("checkpoint", TEMPLATES[name], (), False)
