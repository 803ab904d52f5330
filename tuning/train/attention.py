"""Attention over a pack's tree, block by block.

A dense mask of nodes x nodes is what every kernel understands, but most of it is False: with 16 short samples in a pack
nine tenths of the work. Here each branch asks its own path only. Plain matmuls and a softmax, as torch's fused CPU kernel is
several times slower going backwards (docs/decisions.md).
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engine import widened
from tuning.train.packing import Blocks

NAME = "mirror_tree"
# their attention layers take extra arguments and do nothing beside softmax(q k^T) v
TYPES = ("llama", "mistral", "qwen2", "qwen3")


def supports(model: PreTrainedModel) -> bool:
    """Whether this model's attention can be done in blocks, to the same result."""
    config = model.config
    return (
        config.model_type in TYPES
        and config._attn_implementation in ("sdpa", NAME)
        and not getattr(config, "attention_dropout", 0)
        and not getattr(config, "sliding_window", None)
    )


def install(model: PreTrainedModel) -> None:
    """From now on a forward pass with `blocks=` attends along them; without, nothing changes."""
    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


class Gather(torch.autograd.Function):
    """Rows by index. Many blocks read the same prefix, so its gradient is summed in fp32."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """rows (nodes, heads, size), at (blocks, n) -> (blocks, n, heads, size)"""
        ctx.save_for_backward(at)
        ctx.shape = rows.shape
        return rows.index_select(0, at.flatten()).view(*at.shape, *rows.shape[1:])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (at,) = ctx.saved_tensors
        total = torch.zeros(ctx.shape, dtype=torch.float32, device=gradient.device)
        total.index_add_(0, at.flatten(), gradient.reshape(-1, *ctx.shape[1:]).float())
        return total.to(gradient.dtype), None


def tree_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    blocks: Blocks | None = None,
    **rest,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (1, heads, nodes, size) -> (1, nodes, heads, size)."""
    if blocks is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    q, k, v = (
        widened.widen(Gather.apply(states[0].transpose(0, 1), at))
        for states, at in ((query, blocks.queries), (key, blocks.keys), (value, blocks.keys))
    )
    count, wide, heads, size = q.shape
    groups = heads // k.shape[2]
    # the query heads of one key head lie below each other: keys and values need no copies
    q = q.permute(0, 2, 1, 3).reshape(count, heads // groups, groups * wide, size)
    scores = torch.matmul(q * (size**-0.5 if scaling is None else scaling), k.permute(0, 2, 3, 1))
    scores = scores.view(count, -1, groups, wide, k.shape[1]).float() + blocks.bias.unsqueeze(2)
    chances = torch.softmax(scores, -1).to(q.dtype).view(count, -1, groups * wide, k.shape[1])
    heard = torch.matmul(chances, v.transpose(1, 2)).view(count, heads, wide, size)
    heard = heard.transpose(1, 2).reshape(count * wide, heads, size)
    return heard.index_select(0, blocks.place)[None].to(query.dtype), None
