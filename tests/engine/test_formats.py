"""Formats: the exact prompt, byte for byte, and how a checkpoint's format is found."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import formats
from engine.types import EngineError

ROOT = Path(__file__).parents[2]
BAYLING = (
    "I am an intelligent language assistant developed by the NLP Group of ICT/CAS.\n"
    "Below is a dialog consisting of instructions and responses. Write a response that completes the request.\n\n"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nq1\n\n### Response:\n"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nq1\n\n### Input:\nx\n\n### Response:\n"
)


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


TWO = [user("q1"), assistant("a1"), user("q2")]

PROMPTS = [
    ("bayling", [user("q1")], BAYLING + "### Instruction:\nq1\n### Response:\n"),
    ("bayling", TWO, BAYLING + "### Instruction:\nq1\n### Response:\na1</s>\n### Instruction:\nq2\n### Response:\n"),
    ("bayling", [user("Translate:", input="你好")], BAYLING + "### Instruction:\nTranslate: 你好\n### Response:\n"),
    ("bayling", [user("q1", input="")], BAYLING + "### Instruction:\nq1\n### Response:\n"),
    ("bayling", [system("I am Ada."), user("q1")], "I am Ada.\n\n### Instruction:\nq1\n### Response:\n"),
    ("bayling", [system("I am\nAda.\n"), user("q1")], "I am\nAda.\n\n### Instruction:\nq1\n### Response:\n"),
    ("alpaca", [user("q1")], ALPACA),
    ("alpaca", [user("q1", input="x")], ALPACA_INPUT),
    ("alpaca", TWO, ALPACA + "a1</s>\n\n### Instruction:\nq2\n\n### Response:\n"),
    ("alpaca", [system("I am Ada."), user("q1")], "I am Ada.\n\n### Instruction:\nq1\n\n### Response:\n"),
    (
        "chatml",
        [system("s"), *TWO],
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"
        "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("chatml", [user("q1")], "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n"),
    ("llama2", [user("q1")], "<s>[INST] q1 [/INST]"),
    (
        "llama2",
        [system("s"), *TWO],
        "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\nq1 [/INST] a1 </s><s>[INST] q2 [/INST]",
    ),
    ("chatglm", [user("你好")], "你好"),
    ("chatglm", TWO, "[Round 0]\n问：q1\n答：a1\n[Round 1]\n问：q2\n答："),
    ("chatglm", [system("s"), *TWO], "s\n[Round 0]\n问：q1\n答：a1\n[Round 1]\n问：q2\n答："),
    ("baichuan2", TWO, "<reserved_106>q1<reserved_107>a1<reserved_106>q2<reserved_107>"),
    ("baichuan2", [system("s"), user("q1")], "s<reserved_106>q1<reserved_107>"),
]


@pytest.mark.parametrize(("name", "messages", "prompt"), PROMPTS)
def test_the_exact_prompt(name, messages, prompt):
    assert formats.get(name).render(messages) == prompt


def test_all_six_ship():
    assert formats.names() == ["alpaca", "baichuan2", "bayling", "chatglm", "chatml", "llama2"]


def test_eos_between_turns_is_the_tokenizers():
    prompt = formats.get("bayling").render(TWO, eos_token="<|im_end|>")
    assert "### Response:\na1<|im_end|>\n### Instruction:\nq2" in prompt
    assert "</s>" not in prompt


@pytest.mark.parametrize("name", formats.names())
@pytest.mark.parametrize("head", [[user("q1")], TWO, [system("s"), user("q1")]])
def test_a_training_row_is_the_prompt_then_the_answer_then_eos(name, head):
    form = formats.get(name)
    prompt, row = form.render(head), form.render([*head, assistant("My answer.")], add_generation_prompt=False)
    end = "<|im_end|>" if name == "chatml" else "</s>"
    assert row.startswith(prompt)
    assert row[len(prompt) :].replace(" ", "").strip() == "Myanswer." + end


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% raw %}", 'it\'s "quoted"', "a\\nb", "  spaced  ", "🙂 — é"])
def test_what_people_write_is_never_read_as_template(text):
    for name in set(formats.names()) - {"llama2"}:
        assert text in formats.get(name).render([user(text)])


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "empty"),
        ([{"role": "tool", "content": "x"}], "'tool'"),
        (["hello"], "role None"),
        ([{"role": "user"}], "no text under 'content'"),
        ([user("a", input=3)], "'input'"),
        ([user("a"), system("s")], "Message 2 .* system"),
        ([user("a"), user("b")], "Message 2 .* take turns"),
        ([assistant("a"), user("b")], "no user has spoken"),
        ([system("s")], "system message only"),
        ([user("a"), assistant("b")], "nothing left to answer"),
    ],
)
@pytest.mark.parametrize("name", ["bayling", "chatml"])
def test_what_is_no_conversation_is_refused(name, messages, says):
    with pytest.raises(EngineError, match=says) as refused:
        formats.get(name).render(messages)
    assert "\n" not in str(refused.value)


def test_who_writes_the_special_tokens():
    tokenizer_adds = {name for name in formats.names() if formats.get(name).add_special_tokens}
    assert tokenizer_adds == {"alpaca", "baichuan2", "bayling", "chatglm"}
    assert formats.get("bayling").stop == ("### Instruction:",)


def test_default_system_texts_are_no_secret():
    assert formats.get("bayling").default_system.startswith("I am an intelligent language assistant")
    assert formats.get("chatml").default_system is None
    assert formats.get("llama2").default_system is None
    assert formats.get("chatglm").default_system is None


def test_the_hash_follows_template_and_stop_only():
    one = formats.Format("a", "{{ messages[0].content }}", ("x",), True, "here")
    assert one.hash == formats.Format("b", "{{ messages[0].content }}", ("x",), False, "there").hash
    assert one.hash != formats.Format("a", "{{ messages[0].content }}", ("y",), True, "here").hash
    assert one.hash != formats.Format("a", "{{ messages[0].content }} ", ("x",), True, "here").hash
    assert len({formats.get(name).hash for name in formats.names()}) == 6


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(EngineError, match=r"alpaca, baichuan2, bayling.*Did you mean 'bayling'"):
        formats.get("baylin")


# --- alpaca-lora files


def alpaca_file(folder, name="mine", **changes):
    plain = {
        "description": "A test.",
        "prompt_input": ALPACA_INPUT.replace("q1", "{instruction}").replace("\nx\n", "\n{input}\n"),
        "prompt_no_input": ALPACA.replace("q1", "{instruction}"),
        "response_split": "### Response:",
    } | changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps({k: v for k, v in plain.items() if v is not None}), encoding="utf-8")
    return path


def test_an_imported_alpaca_file_is_alpaca(tmp_path):
    imported, ours = formats.from_alpaca_json(alpaca_file(tmp_path)), formats.get("alpaca")
    mixed = [user("a", input="b"), assistant("c"), user("d")]
    for messages in ([user("q1")], [user("q1", input="x")], TWO, [system("s"), *TWO], mixed):
        assert imported.render(messages) == ours.render(messages)
    row = [*TWO, assistant("a2")]
    assert imported.render(row, add_generation_prompt=False) == ours.render(row, add_generation_prompt=False)
    assert (imported.name, imported.stop, imported.source) == ("mine", ("### Instruction:",), "A test.")
    assert imported.add_special_tokens


def test_an_imported_bayling_file_is_bayling(tmp_path):
    turn = "### Instruction:\n{instruction}%s\n### Response:\n"
    path = alpaca_file(tmp_path, prompt_input=BAYLING + turn % " {input}", prompt_no_input=BAYLING + turn % "")
    imported, ours = formats.from_alpaca_json(path), formats.get("bayling")
    for messages in ([user("q1", input="x")], TWO, [system("s"), *TWO]):
        assert imported.render(messages) == ours.render(messages)


def test_an_imported_file_keeps_its_braces_quotes_and_other_letters(tmp_path):
    head = 'Réponds à l\'"élève" {{poliment}} 🙂\n\n'
    path = alpaca_file(
        tmp_path,
        prompt_input=head + "Q : {instruction} ({input})\nR :",
        prompt_no_input=head + "Q : {instruction}\nR :",
        response_split="R :",
    )
    form = formats.from_alpaca_json(path)
    assert form.render([user("a", input="b")]) == 'Réponds à l\'"élève" {poliment} 🙂\n\nQ : a (b)\nR :'
    assert form.render(TWO).endswith("Q : q1\nR :a1</s>\nQ : q2\nR :")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt_no_input": None, "response_split": None}, "missing: prompt_no_input, response_split"),
        ({"prompt_input": "{instruction}\n### Response:"}, "prompt_input has to hold {instruction} and then {input}"),
        ({"prompt_no_input": "{instruction} {\n### Response:"}, "prompt_no_input has an unpaired brace"),
        ({"response_split": "### Antwort:"}, "'### Antwort:' does not stand after"),
        ({"prompt_no_input": "{instruction}\n### Response: "}, "both have to end alike"),
    ],
)
def test_a_faulty_alpaca_file_says_what_is_wrong(tmp_path, changes, says):
    with pytest.raises(EngineError, match=says):
        formats.from_alpaca_json(alpaca_file(tmp_path, **changes))


def test_an_alpaca_file_that_is_no_json_says_the_line(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{\n"prompt_input": oops}')
    with pytest.raises(EngineError, match=r"broken\.json, line 2"):
        formats.from_alpaca_json(path)
    with pytest.raises(EngineError, match="cannot be read"):
        formats.from_alpaca_json(tmp_path / "none.json")


# --- template files


def test_a_template_file_says_its_stops_and_who_writes_bos(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text('{# {stop: ["<end>"], bos: tokenizer} #}\n{{ messages[-1].content }}\n')
    form = formats.find(str(path))
    assert (form.stop, form.add_special_tokens, form.render([user("q")])) == (("<end>",), True, "q")
    path.write_text("{#- {%- if an_old_idea %} -#}{{ bos_token }}{{ messages[-1].content }}")
    form = formats.find(str(path))
    assert (form.stop, form.add_special_tokens, form.render([user("q")])) == ((), False, "<s>q")


def test_a_template_file_with_faulty_front_matter_lists_all_faults(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text("{# {stop: end, bos: me, halt: 1} #}x")
    with pytest.raises(EngineError, match="unknown key 'halt'; stop is a list of non-empty texts; bos is"):
        formats.find(str(path))


@pytest.mark.parametrize("template", ["{{ raise_exception('no system here') }}", "{% if %}", "{{ messages[0].content + 1 }}"])
def test_a_template_that_fails_is_one_sentence(template):
    with pytest.raises(EngineError, match="Format 'mine'"):
        formats.Format("mine", template).render([user("q")])


# --- checkpoints

SMOL = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(pieces=("a", "b"), chat_template=None):
    """A real, tiny fast tokenizer over `pieces`."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    model = models.WordLevel({piece: number for number, piece in enumerate(["<unk>", *pieces])}, unk_token="<unk>")
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="<unk>")
    fast.chat_template = chat_template
    return fast


LLAMA = SimpleNamespace(model_type="llama", architectures=["LlamaForCausalLM"], name_or_path="/models/alpaca-chatml")


def test_a_checkpoints_own_template_comes_first_and_renders_as_transformers_does():
    own = tokenizer(["<|im_start|>"], SMOL)
    form, reason = formats.recognise(own, LLAMA)
    assert (form.name, form.add_special_tokens, form.stop) == ("checkpoint", False, ())
    assert "You are a helpful AI assistant named SmolLM" in reason
    for messages in (TWO, [system("s"), *TWO]):
        assert form.render(messages) == own.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert form.render([system("s"), *TWO]) == formats.get("chatml").render([system("s"), *TWO])


QUESTION = "{{ messages[0].content }}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ({"default": "D" + QUESTION, "tool_use": "T"}, "Dq"),
        ([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D" + QUESTION}], "Dq"),
        ({"chat": "C" + QUESTION}, "Cq"),
        ("S" + QUESTION, "Sq"),
    ],
)
def test_of_several_named_templates_the_default_is_taken(template, text):
    assert formats.from_tokenizer(SimpleNamespace(chat_template=template)).render([user("q")]) == text


@pytest.mark.parametrize("template", [None, "", {}, {"rag": "R", "tool_use": "T"}])
def test_no_template_of_its_own(template):
    assert formats.from_tokenizer(SimpleNamespace(chat_template=template)) is None


@pytest.mark.parametrize(
    ("pieces", "config", "name", "says"),
    [
        (["<|im_start|>", "Ġthe"], LLAMA, "chatml", "<|im_start|>"),
        (["<reserved_106>", "▁the"], SimpleNamespace(model_type="baichuan"), "baichuan2", "<reserved_106>"),
        (["▁the"], SimpleNamespace(model_type="chatglm"), "chatglm", "chatglm"),
        (["▁the"], LLAMA, "bayling", "--format alpaca"),
    ],
)
def test_a_checkpoint_is_recognised_by_what_is_in_it(pieces, config, name, says):
    form, reason = formats.recognise(tokenizer(pieces), config)
    assert form == formats.get(name)
    assert says in reason


@pytest.mark.parametrize("config", [LLAMA, SimpleNamespace(model_type="gpt2", name_or_path="/models/bayling")])
def test_a_checkpoint_that_tells_nothing_is_refused_with_the_known_formats(config):
    with pytest.raises(EngineError, match="--format: alpaca, baichuan2, bayling, chatglm, chatml, llama2"):
        formats.recognise(tokenizer(["Ġthe"]), config)


# --- the command line


def run(name, text):
    command = [sys.executable, "-m", "engine.formats", name]
    return subprocess.run(command, input=text.encode(), capture_output=True, cwd=ROOT, check=False)


def test_the_command_line_prints_the_prompt_and_nothing_else(tmp_path):
    asked = json.dumps([user("你是谁？")], ensure_ascii=False)
    done = run("bayling", asked)
    assert (done.returncode, done.stdout.decode()) == (0, BAYLING + "### Instruction:\n你是谁？\n### Response:\n")
    done = run(str(alpaca_file(tmp_path)), json.dumps([user("q1"), assistant("a1")]))
    assert (done.returncode, done.stdout.decode()) == (0, ALPACA + "a1</s>")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("bayling", "[{", "no JSON"),
        ("bayling", '{"role": "user"}', "no list of messages"),
        ("bayling", "[]", "empty"),
        ("vicuna", "[]", "no format 'vicuna'"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(name, text, says):
    done = run(name, text)
    assert (done.returncode, done.stdout) == (2, b"")
    error = done.stderr.decode()
    assert says in error and error.count("\n") == 1
    assert "Traceback" not in error


def test_listing_formats_needs_neither_torch_nor_transformers():
    path = str(ROOT / "engine" / "formats.py")
    script = (
        "import sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('formats_alone', {path!r})\n"
        "module = u.module_from_spec(spec); sys.modules['formats_alone'] = module\n"
        "import types; package = types.ModuleType('engine'); package.__path__ = ['engine']; sys.modules['engine'] = package\n"
        "spec.loader.exec_module(module); module.get('bayling')\n"
        "print(sorted({'torch', 'transformers', 'gradio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_template_is_found_without_its_ending_as_in_alpaca_lora(tmp_path, monkeypatch):
    turn = "### Instruction:\n{instruction}%s\n### Response:\n"
    bayling = dict(prompt_input=BAYLING + turn % " {input}", prompt_no_input=BAYLING + turn % "")
    (tmp_path / "templates").mkdir()
    alpaca_file(tmp_path / "templates", "mine")
    alpaca_file(tmp_path / "templates", "bayling", **bayling)
    assert formats.find(str(tmp_path / "templates" / "mine")).name == "mine"
    assert formats.find(str(tmp_path / "templates" / "bayling")) == formats.get("bayling")
    monkeypatch.chdir(tmp_path)
    assert formats.find("mine").name == "mine" and formats.find("templates/mine").name == "mine"
    assert formats.find("bayling") == formats.get("bayling")
    with pytest.raises(EngineError, match="no format 'templates/none'"):
        formats.find("templates/none")


def test_a_file_that_is_called_like_one_of_ours_and_is_another_gets_another_name(tmp_path):
    other = alpaca_file(tmp_path, "bayling")
    assert formats.find(str(other)).name == "bayling-file"  # an adapter's record would name ours
