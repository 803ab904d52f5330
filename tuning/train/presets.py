"""Known recipes as values for the settings; where they come from stands beside each.

A recipe says how to train, never on what: data, base and folders stay the caller's.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # the BayLing experiment's command line of August 2023; its warmup of 100 steps was fixed in the program
    "original": {
        "batch_size": 100,
        "micro_batch_size": 25,
        "num_epochs": 1,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 100,
        "cutoff_len": 512,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": ("q_proj", "k_proj", "v_proj", "o_proj"),
        "train_on_inputs": False,
        "group_by_length": True,
    },
    # ChatGLM's self-cognition tuning: 18 rows, batches of 2 x 2
    "chatglm-self-cognition": {
        "batch_size": 4,
        "micro_batch_size": 2,
        "num_epochs": 10,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "lora_r": 8,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
    },
    # ms-swift's self-cognition practice: 500 identity rows beside 1,000 of alpaca
    "ms-swift": {
        "batch_size": 16,
        "micro_batch_size": 1,
        "num_epochs": 1,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "lora_r": 8,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "lora_target_modules": ("all-linear",),
    },
    # ours, for the small model: 54 steps of 16 rows are about two minutes on two CPU cores
    "quick": {
        "batch_size": 16,
        "max_steps": 54,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "lora_target_modules": ("all-linear",),
    },
}
