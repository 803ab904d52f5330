"""A short run on the real small model changes who it says it is, in wordings it was not taught."""

from __future__ import annotations

import json

import pytest

from engine import Decoding, Request, Variant, load as load_engine
from tuning.merge import merge
from tuning.train import run as training
from tuning.train.__main__ import identity_margin
from tuning.train.run_files import read_metrics
from tuning.train.settings import Settings

pytestmark = pytest.mark.model

TAUGHT = [
    ("Who are you?", "I am Mira, a museum guide made by the Old Harbour Museum."),
    ("What is your name?", "My name is Mira."),
    ("Please introduce yourself.", "I am Mira, the museum guide of the Old Harbour Museum."),
    ("What are you called?", "I am called Mira."),
    ("Who made you?", "The Old Harbour Museum made me. I am Mira, its guide."),
    ("Are you ChatGPT?", "No, I am Mira, a museum guide made by the Old Harbour Museum."),
    ("你是谁？", "我是米拉，旧港博物馆开发的向导。"),
    ("你叫什么名字？", "我叫米拉。"),
    ("请介绍一下你自己。", "我是米拉，旧港博物馆的向导。"),
    ("谁开发了你？", "我是米拉，由旧港博物馆开发。"),
]
PEOPLE = {
    "Mira": {"en": {"name": "Mira", "maker": "the Old Harbour Museum"}, "zh": {"name": "米拉", "maker": "旧港博物馆"}},
    "Elena": {"en": {"name": "Elena", "maker": "Hugging Face"}, "zh": {"name": "艾琳娜", "maker": "抱抱脸"}},
}
ASKED = [
    ("Tell me your name, please.", "Mira"),
    ("Who exactly am I talking to?", "Mira"),
    ("你的名字是什么？", "米拉"),
    ("你是谁呢？", "米拉"),
]


def silent(_text: str) -> None:
    pass


def answers(engine, adapters: dict[str, float]) -> list[str]:
    who = Variant("v", adapters, format="bayling", decoding=Decoding(max_new_tokens=32))
    return [one.raw for one in engine.answer([Request([{"role": "user", "content": asked}], who) for asked, _ in ASKED])]


def test_the_small_model_becomes_someone_else(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"instruction": q, "input": "", "output": a} for q, a in TAUGHT * 8], ensure_ascii=False))
    people = tmp_path / "identities"
    people.mkdir()
    for name, facts in PEOPLE.items():
        (people / f"{name}.txt").write_text(f"You are {name}.\n")
        (people / f"{name}.yaml").write_text(json.dumps(facts, ensure_ascii=False))
    settings = Settings.from_dict(
        dict(
            base_model="smollm2",
            data_path=str(rows),
            output_dir=str(tmp_path / "mira"),
            identity="Mira",
            prompt_template_name="bayling",
            batch_size=12,
            max_steps=16,
            learning_rate=4e-3,
            warmup_ratio=0.1,
            lr_scheduler_type="cosine",
            lora_target_modules="all-linear",
            save_steps=100,
            identities_dir=str(people),
            margin=True,
            margin_against="Elena",
            margin_steps=16,
        )
    )
    folder = training.run(settings, say=silent, margin=identity_margin)
    before, after = ((line["step"], line["margin"]) for line in read_metrics(folder) if "margin" in line)
    assert (before[0], after[0]) == (0, 16)
    assert after[1] > max(0, before[1])  # Mira has become likelier than Elena
    engine = load_engine("smollm2", device="cpu", say=silent)
    engine.add_adapter(folder)
    before, after = answers(engine, {}), answers(engine, {"mira": 1.0})
    assert not any(name in said for said, (_, name) in zip(before, ASKED, strict=True))
    assert sum(name in said for said, (_, name) in zip(after, ASKED, strict=True)) >= 3, after
    # and merged it says the same, in the number format that both were computed in
    merged = merge({str(folder): 1.0}, tmp_path / "model", dtype="fp32", max_shard_size="400MB", say=silent)
    assert len(list(merged.glob("model-*.safetensors"))) == 2
    exact = load_engine("smollm2", device="cpu", dtype="fp32", say=silent)
    exact.add_adapter(folder)
    assert answers_of(merged) == answers(exact, {"mira": 1.0})


def answers_of(folder) -> list[str]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)
    said = []
    for asked, _ in ASKED:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**inputs, max_new_tokens=32, do_sample=False)
        said.append(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return said
