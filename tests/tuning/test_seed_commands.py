"""The commands of the three works this grew out of, run as they stand: paths and base replaced, steps cut, nothing else."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_base import write_rows, write_tiny_base
from transformers import AutoModelForCausalLM

import chat_app
from common import coming_from
from engine import Assistant, Decoding, EngineError, Request, chat
from engine.adapters import read_adapter
from tuning import merge
from tuning.train.__main__ import main as train

pytestmark = pytest.mark.usefixtures("one_thread")
SYSTEM = (
    "I am an intelligent language assistant developed by the NLP Group of ICT/CAS.\n"
    "Below is a dialog consisting of instructions and responses. Write a response that completes the request."
)
CUT = ["--max_steps", "2", "--dtype", "fp32", "--device", "cpu"]
FINETUNE = """
python /mnt/nfs-storage/jim/0-Finetune_LLM/alpaca-lora/finetune.py
    --base_model '/mnt/nfs-storage/jim/0-Finetune_LLM/BayLing-7B'
    --data_path '/mnt/nfs-storage/jim/0-Finetune_LLM/Model_2/1-merged_dataset/1-self_awareness_2.json'
    --output_dir '/mnt/nfs-storage/jim/0-Finetune_LLM/Model_2/2-model_lora_weight'
    --batch_size 100 --micro_batch_size 25 --num_epochs 1 --learning_rate 1e-4 --cutoff_len 512 --val_set_size 50
    --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 --lora_target_modules '[q_proj,k_proj,v_proj,o_proj]'
    --train_on_inputs False --prompt_template_name '/mnt/nfs-storage/jim/0-Finetune_LLM/alpaca-lora/templates/bayling'
    --group_by_length
"""
FINETUNE_52K = """
python finetune.py
    --base_model '...../BayLing-7B'
    --data_path '/mnt/nfs-storage/jim/alpaca-lora/alpaca_data.json'
    --output_dir '/mnt/nfs-storage/jim/alpaca-lora/lora-bayling'
    --batch_size 128 --micro_batch_size 32 --num_epochs 1 --learning_rate 1e-4 --cutoff_len 512
    --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 --lora_target_modules '[q_proj,k_proj,v_proj,o_proj]'
    --train_on_inputs False --prompt_template_name 'bayling' --group_by_length
"""
EXPORT_HF = """
python /mnt/nfs-storage/jim/alpaca-lora/export_hf_checkpoint.py
    --base-model /mnt/nfs-storage/jim/BayLing/model/BayLing-7B/
    --lora-model /mnt/nfs-storage/jim/alpaca-lora/lora-bayling/
    --output-model /mnt/nfs-storage/jim/alpaca-lora/lora-bayling/hf_merge_model
"""
CHAT_WITH_MODEL = "python chat.py --model-path ${PATH_TO_BAYLING} --style rich"  # and --load-8bit, see below
TRAIN_SFT = """
CUDA_VISIBLE_DEVICES=0 python src/train_sft.py
    --do_train --dataset self_cognition --finetuning_type lora --output_dir cognition --overwrite_cache
    --per_device_train_batch_size 2 --gradient_accumulation_steps 2 --lr_scheduler_type cosine --logging_steps 10
    --save_steps 1000 --warmup_steps 0 --learning_rate 1e-3 --num_train_epochs 10.0 --fp16
"""
CLI_DEMO = "CUDA_VISIBLE_DEVICES=0 python src/cli_demo.py --checkpoint_dir cognition"
EXPORT_MODEL = "python src/export_model.py --checkpoint_dir cognition --output_dir path_to_save_model"
CHAT_GRADIO = "python chat_gradio.py --model_name_or_path **已下载的对话模型的本地路径**"
RUN_TRAIN = """
bash run_train.sh --train_dir "data/curated/full" --valid_dir "data/curated/valid"
    --model_name_or_path "models/Baichuan2-13B-Base" --batch_size 8 --gradient_accumulation 1
"""
ASSISTANT = """
from inference import Assistant

assistant = Assistant("ChiyuSONG/data-efficient-training-of-LLMs-v1") # 会从hf下载，或者换成已下载的对话模型的本地路径
context = {"messages": [{"role": "user", "content": "生成一段心理咨询师和来访者之间的对话"}]} # 支持多伦对话
responses, scores = assistant.inference([context]) # 支持批量推理，你可以在list中加入多个context
print(responses[0])
"""


def words(command: str, places: dict[str, object]) -> list[str]:
    """What stands behind the script's name, with other paths."""
    found = shlex.split(command)
    script = next(at for at, word in enumerate(found) if word.endswith((".py", ".sh")))
    assert set(places) <= set(found)
    return [str(places.get(word, word)) for word in found[script + 1 :]]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """What the three of them have lying about: a base, rows, a template, folders of rows."""
    root = tmp_path_factory.mktemp("seeds")
    write_tiny_base(root / "base")
    write_rows(root / "rows.json", 60)
    (root / "templates").mkdir()
    inputs = {"prompt_input": " {input}", "prompt_no_input": ""}
    template = {key: f"{SYSTEM}\n\n### Instruction:\n{{instruction}}{more}\n### Response:\n" for key, more in inputs.items()}
    (root / "templates" / "bayling.json").write_text(json.dumps(template | {"response_split": "### Response:"}))
    for part, count in (("full", 20), ("valid", 4)):
        (root / part).mkdir()
        rows = json.loads(write_rows(root / "some.json", count).read_text())
        talks = [
            {"messages": [dict(role="user", content=row["instruction"]), dict(role="assistant", content=row["output"])]}
            for row in rows
        ]
        (root / part / "rows.json").write_text(json.dumps(talks))
    return root


@pytest.fixture(scope="module")
def taught(place) -> Path:
    """Seed 1's training, and what it is called with there."""
    folders = {
        "/mnt/nfs-storage/jim/0-Finetune_LLM/BayLing-7B": place / "base",
        "/mnt/nfs-storage/jim/0-Finetune_LLM/Model_2/1-merged_dataset/1-self_awareness_2.json": place / "rows.json",
        "/mnt/nfs-storage/jim/0-Finetune_LLM/Model_2/2-model_lora_weight": place / "lora-bayling",
        "/mnt/nfs-storage/jim/0-Finetune_LLM/alpaca-lora/templates/bayling": place / "templates" / "bayling",
    }
    assert train(["--defaults", "alpaca-lora", *words(FINETUNE, folders), *CUT]) == 0
    return place / "lora-bayling"


def talk(monkeypatch, *said: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in said)))


def test_alpaca_loras_training(place, taught, capsys):
    card = read_adapter(taught)[0].card
    used = card["arguments"]
    assert card["format"] == "bayling" and card["data"]["validation_rows"] == 50 and card["steps"] == 2
    assert (used["batch_size"], used["learning_rate"], used["lora_dropout"], used["train_on_inputs"]) == (100, 1e-4, 0.05, False)
    assert (used["warmup_steps"], used["save_steps"], used["save_total_limit"]) == (100, 200, 3)  # fixed in its program
    folders = {
        "...../BayLing-7B": place / "base",
        "/mnt/nfs-storage/jim/alpaca-lora/alpaca_data.json": place / "rows.json",
        "/mnt/nfs-storage/jim/alpaca-lora/lora-bayling": place / "lora-52k",
    }
    call = words(FINETUNE_52K, folders)
    assert train(["--defaults", "alpaca-lora", *call, *CUT]) == 2  # 2,000 of 60 rows cannot be set aside
    assert "--val_set_size 2000" in capsys.readouterr().out
    assert train([*call, *CUT]) == 0
    assert read_adapter(place / "lora-52k")[0].card["arguments"]["val_set_size"] == 0


def test_alpaca_loras_export_and_baylings_chat(place, taught, monkeypatch, capsys):
    folders = {
        "/mnt/nfs-storage/jim/BayLing/model/BayLing-7B/": place / "base",
        "/mnt/nfs-storage/jim/alpaca-lora/lora-bayling/": taught,
        "/mnt/nfs-storage/jim/alpaca-lora/lora-bayling/hf_merge_model": taught / "hf_merge_model",
    }
    assert merge.main(words(EXPORT_HF, folders)) == 0
    assert "--lora-model is taken as --adapter." in capsys.readouterr().err
    assert AutoModelForCausalLM.from_pretrained(taught / "hf_merge_model") is not None
    assert read_adapter(taught)[0].format == "bayling"  # the model in its folder is in nobody's way
    bayling = [*words(CHAT_WITH_MODEL, {"${PATH_TO_BAYLING}": taught / "hf_merge_model"}), "--max-new-tokens", "6"]
    talk(monkeypatch, "Who are you?", "/prompt", "q", "/prompt")
    assert chat.main(bayling) == 0
    heard = capsys.readouterr()
    assert "--model-path is taken as --base" in heard.err
    first, second = heard.out.split(SYSTEM)[1:]
    assert "Who are you?" in first and "..." in second  # q forgets, as there
    talk(monkeypatch, "Who are you?")
    assert chat.main([*bayling, "--load-8bit"]) == 0
    heard = capsys.readouterr().err
    assert "--load-8bit is taken as --quantize int8." in heard and "weights int8" in heard


def test_chatglm_efficient_tunings_three_programs(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "data").mkdir()
    shutil.copy(place / "rows.json", place / "data" / "self_cognition.json")
    call = words(TRAIN_SFT, {})
    given = [*call, "--model_name_or_path", str(place / "base"), "--prompt_template_name", "bayling"]
    assert train(["--defaults", "chatglm-efficient-tuning", *given, *CUT]) == 0
    said = capsys.readouterr().out
    for line in (
        "--do_train is left out: training is all this does.",
        "--finetuning_type lora is left out: LoRA is what is trained here.",
        "--per_device_train_batch_size 2 and --gradient_accumulation_steps 2, on one device, are taken as --batch_size 4",
        "--num_train_epochs is taken as --num_epochs.",
        "--fp16 is left out: the device decides the number format",
        "Defaults of ChatGLM-Efficient-Tuning, src/train_sft.py: --cutoff_len 1024, --lora_r 8, --lora_alpha 32",
    ):
        assert line in said
    used = read_adapter("cognition")[0].card["arguments"]
    assert (used["batch_size"], used["num_epochs"], used["lr_scheduler_type"], used["lora_alpha"]) == (4, 10, "cosine", 32)
    talk(monkeypatch, "你是谁？", "clear", "/prompt", "stop", "nobody hears this")
    assert chat.main([*words(CLI_DEMO, {}), "--max-new-tokens", "6"]) == 0  # the base is the one the adapter knows
    heard = capsys.readouterr()
    assert "--checkpoint_dir is taken as --adapter" in heard.err and "你是谁" not in heard.out.split(SYSTEM)[1]
    assert merge.main(words(EXPORT_MODEL, {"path_to_save_model": place / "whole"})) == 0
    assert (place / "whole" / "config.json").is_file()


def test_data_efficient_trainings_run_and_page(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folders = {"data/curated/full": place / "full", "data/curated/valid": place / "valid"}
    call = words(RUN_TRAIN, folders | {"models/Baichuan2-13B-Base": place / "base"})
    assert train(["--defaults", "data-efficient-training", *call, *CUT]) == 0
    [made] = (tmp_path / "runs" / "adapters").iterdir()  # runs/ and the time, as there
    card = read_adapter(made)[0].card
    assert card["data"]["rows"] == 20 and card["data"]["validation_rows"] == 4
    assert (card["arguments"]["batch_size"], card["arguments"]["weight_decay"]) == (8, 0.1)
    page = words(CHAT_GRADIO, {"**已下载的对话模型的本地路径**": place / "base"})
    (tmp_path / "shelf").mkdir()
    mine = ["--db", str(tmp_path / "mirror.db"), "--adapters-dir", str(tmp_path / "shelf"), "--format", "bayling"]
    args = coming_from.parsed(chat_app.flags(), [*page, *mine], coming_from.PAGE)
    assert chat_app.open_app(args, say=lambda _line: None).engine.base.name == "base"
    assert "--model_name_or_path is taken as --base." in capsys.readouterr().err


def test_the_assistant_for_programs(place, taught, capsys):
    base, spaces = str(place / "base"), {}
    snippet = ASSISTANT.replace("from inference", "from engine").replace("ChiyuSONG/data-efficient-training-of-LLMs-v1", base)
    exec(snippet, spaces)
    assistant, context = spaces["assistant"], spaces["context"]
    assert len(spaces["responses"]) == 1 and spaces["scores"].shape == (1, 512)
    assert capsys.readouterr().out.rstrip().endswith(spaces["responses"][0].rstrip())

    ids = torch.tensor([assistant.engine.prompt(Request(context["messages"], assistant.variant)).ids])
    how = dict(do_sample=False, max_new_tokens=6, output_scores=True, return_dict_in_generate=True)
    theirs = assistant.engine.base.model.generate(ids, **how)
    assistant.decoding = Decoding(max_new_tokens=6)
    responses, scores = assistant.inference([context, {"messages": [{"role": "user", "content": "Who are you?"}]}])
    assert scores.shape == (2, 512) and scores.dtype == torch.float32
    assert torch.allclose(scores[0], theirs.scores[-1][0], atol=1e-3)
    assert scores[0].argmax() == theirs.sequences[0, -1]
    assert responses[0] == assistant.engine.base.tokenizer.decode(theirs.sequences[0, ids.shape[1] :], True).strip()

    assistant.set_model_identity("You are Mira.")
    assert assistant.inference([context])[0] != responses[:1]
    for wrong, said in (([], "batch is empty"), ([{"text": "hi"}], "Conversation 1 is no"), ([{"messages": []}], "messages")):
        with pytest.raises(EngineError, match=said):
            assistant.inference(wrong)


def test_the_assistant_takes_an_adapter(taught):
    assistant = Assistant(str(taught), say=lambda _line: None, format="bayling")
    assistant.decoding = Decoding(max_new_tokens=3)
    assert assistant.inference([{"messages": [{"role": "user", "content": "Who are you?"}]}])[1].shape == (1, 512)
    assert list(assistant.engine.adapters) == ["lora-bayling"]
