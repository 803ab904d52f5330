"""The loss of one pack, and what makes it cheap: no weight gradients, no kept logits, low-rank pairs in one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLayer
from torch import nn
from transformers import PreTrainedModel

from engine import widened
from tuning.train import attention
from tuning.train.packing import Pack

LossOfPack = Callable[[Pack], torch.Tensor]
LOGITS = 2**22  # per chunk of the head: 16 MB in fp32, about what a processor's cache holds
FP16_LIFT = 1024.0  # softmax tails below 6e-8 would be 0 in fp16


def loss_of_pack(model: PeftModel) -> LossOfPack:
    """A function giving the weighted sum of a pack's token losses (fp32 scalar, differentiable).

    The fast way is taken where it gives the same result: low-rank pairs on plain linear layers, block attention on the CPU,
    a frozen linear head. Anything else goes through the model's own forward with a dense mask.
    """
    base = model.get_base_model()
    for module in model.modules():
        if is_fusible(module):
            module.forward = fuse(module)
    in_blocks = attention.supports(base) and base.device.type == "cpu"
    if in_blocks:
        attention.install(base)
    head = base.get_output_embeddings()
    if base.config.model_type not in attention.TYPES or type(head) is not nn.Linear or head.weight.requires_grad:
        return lambda pack: whole_loss(model, pack)

    def head_loss(pack: Pack) -> torch.Tensor:
        seen = {"attention_mask": pack.ids.new_ones(1, 1, 1, 1, dtype=torch.bool), "blocks": pack.blocks()}
        if not in_blocks:
            seen = {"attention_mask": pack.mask()}
        hidden = base.get_decoder()(input_ids=pack.ids, position_ids=pack.positions, use_cache=False, **seen).last_hidden_state[0]
        hidden = hidden.index_select(0, pack.keep).to(head.weight.dtype)
        return HeadLoss.apply(hidden, head.weight, head.bias, pack.sources, pack.targets, pack.weights)

    return head_loss


def whole_loss(model: PeftModel | PreTrainedModel, pack: Pack) -> torch.Tensor:
    """The same by the model's own forward: any architecture that knows `logits_to_keep` and 4-D masks."""
    logits = model(
        input_ids=pack.ids, position_ids=pack.positions, attention_mask=pack.mask(), use_cache=False, logits_to_keep=pack.keep
    ).logits[0]
    losses = F.cross_entropy(logits.float().index_select(0, pack.sources), pack.targets, reduction="none")
    return (losses * pack.weights).sum()


class HeadLoss(torch.autograd.Function):
    """Weighted cross entropy over a frozen head, its gradient made chunk by chunk on the way forward.

    The logits of a whole pack would be the largest tensor of the step (nodes x vocabulary in fp32, twice); as the head does
    not learn, the gradient of `hidden` is all that has to be kept.
    """

    @staticmethod
    def forward(
        ctx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        sources: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """hidden (rows, size), weight (vocabulary, size); sources, targets, weights (edges,) -> scalar"""
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty(hidden.shape, dtype=torch.float32, device=hidden.device) if ctx.needs_input_grad[0] else None
        per_row = torch.zeros(len(hidden), device=hidden.device).index_add_(0, sources, weights)
        lift = FP16_LIFT if hidden.dtype == torch.float16 else 1.0
        step = max(16, LOGITS // len(weight))
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            edges = ((sources >= start) & (sources < start + step)).nonzero().squeeze(1)
            row, target, share = sources[edges] - start, targets[edges], weights[edges]
            logits = widened.product(widened.widen(hidden[rows]), weight, bias).float()
            norm = logits.logsumexp(-1)
            total += ((norm[row] - logits[row, target]) * share).sum()
            if gradient is not None:
                chances = logits.sub_(norm[:, None]).exp_().mul_(per_row[rows, None])
                chances.index_put_((row, target), -share, accumulate=True)
                lifted = chances.mul_(lift) if lift != 1 else chances
                gradient[rows] = widened.gradient_product(widened.widen(lifted.to(hidden.dtype)), weight)
        ctx.save_for_backward(gradient)
        ctx.lift, ctx.dtype = lift, hidden.dtype
        return total

    @staticmethod
    def backward(ctx, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * (upstream / ctx.lift)).to(ctx.dtype), None, None, None, None, None


def is_fusible(module: nn.Module) -> bool:
    """A plain LoRA pair on a plain linear layer."""
    if type(module) is not LoraLayer or type(module.base_layer) is not nn.Linear:
        return False
    names = module.active_adapters
    plain = len(names) == 1 and names[0] in module.lora_A and names[0] not in module.lora_variant
    return plain and module.lora_A[names[0]].bias is None and module.lora_B[names[0]].bias is None


def fuse(module: LoraLayer) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward for one LoRA layer: PEFT's result in a third of its memory traffic."""
    plain = type(module).forward

    def forward(x: torch.Tensor, *rest, **named) -> torch.Tensor:
        name = module.active_adapters[0]
        linear = module.base_layer
        if rest or named or module.merged or module.disable_adapters or x.dtype != linear.weight.dtype:
            return plain(module, x, *rest, **named)
        a, b, scale = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
        rate = getattr(module.lora_dropout[name], "p", 0.0) if module.training else 0.0
        kept = F.dropout(torch.ones_like(x), rate) if rate else None
        return FusedLora.apply(x, linear.weight, linear.bias, a, b, scale, kept)

    return forward


class FusedLora(torch.autograd.Function):
    """y = x W^T + bias + scale (kept x) A^T B^T, W frozen; A and B fp32, computed in the dtype of x as under autocast."""

    @staticmethod
    def forward(
        ctx,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (..., in), weight (out, in), a (r, in), b (out, r), kept (..., in) or None -> (..., out)"""
        flat = x.reshape(-1, x.shape[-1])
        heard = flat if kept is None else flat * kept.view_as(flat)
        low_a, low_b = (widened.widen(low.to(x.dtype)) for low in (a, b * scale))
        hidden = widened.widen(heard) @ low_a.t()
        y = widened.product(widened.widen(flat), weight, bias).addmm_(hidden, low_b.t())
        ctx.save_for_backward(heard, hidden, weight, low_a, low_b, kept)  # the widest of them, heard, as narrow as it came
        ctx.scale, ctx.dtype = scale, a.dtype
        return y.view(*x.shape[:-1], -1).to(x.dtype)

    @staticmethod
    def backward(ctx, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        heard, hidden, weight, low_a, low_b, kept = ctx.saved_tensors
        flat = widened.widen(upstream.reshape(-1, upstream.shape[-1]))
        low = flat @ low_b
        to_x = None
        if ctx.needs_input_grad[0]:  # not for the first layer: below it nothing learns
            to_x = widened.gradient_product(flat, weight)
            to_x = to_x.addmm_(low, low_a) if kept is None else to_x.addcmul_(low @ low_a, widened.widen(kept).view_as(to_x))
            to_x = to_x.view(*upstream.shape[:-1], -1).to(upstream.dtype)
        to_a = (low.t() @ widened.widen(heard)).to(ctx.dtype)
        to_b = (flat.t() @ hidden).to(ctx.dtype).mul_(ctx.scale)
        return to_x, None, None, to_a, to_b, None, None
