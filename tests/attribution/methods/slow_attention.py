"""Attention maps step by step, as the papers have them, of ``TinyVit`` and torchvision's and timm's transformers."""

import math

import torch
from torch.nn import functional


def parts(module):
    """Tokens of images, blocks as (norm, in weight, in bias, out, norm, mlp, heads), and the end of the network."""
    name = type(module).__name__
    if name == "Renamed":
        return parts(module.something)
    if name == "TinyVit":

        def embed(x):
            x = module.patches(x).flatten(2).transpose(1, 2)
            return torch.cat([module.class_token.expand(len(x), -1, -1), x], 1) + module.positions

        blocks = [
            (b.first, b.attention.in_proj_weight, b.attention.in_proj_bias, b.attention.out_proj, b.second,
             lambda x, b=b: b.narrow(functional.gelu(b.wide(x))), b.attention.num_heads)
            for b in module.blocks
        ]  # fmt: skip
        return embed, blocks, lambda x: module.head(module.norm(x)[:, 0])
    if hasattr(module, "conv_proj"):

        def embed(x):
            x = module.conv_proj(x).flatten(2).transpose(1, 2)
            return torch.cat([module.class_token.expand(len(x), -1, -1), x], 1) + module.encoder.pos_embedding

        blocks = [
            (b.ln_1, b.self_attention.in_proj_weight, b.self_attention.in_proj_bias, b.self_attention.out_proj,
             b.ln_2, b.mlp, b.num_heads)
            for b in module.encoder.layers
        ]  # fmt: skip
        return embed, blocks, lambda x: module.heads(module.encoder.ln(x)[:, 0])

    def embed(x):
        x = module.patch_embed(x)
        return torch.cat([module.cls_token.expand(len(x), -1, -1), x], 1) + module.pos_embed

    blocks = [
        (b.norm1, b.attn.qkv.weight, b.attn.qkv.bias, b.attn.proj, b.norm2, b.mlp, b.attn.num_heads)
        for b in module.blocks
    ]
    return embed, blocks, lambda x: module.head(module.norm(x)[:, 0])


def forward(module, x):
    """Logits, and each block's probabilities ``(n, heads, tokens, tokens)`` and tokens."""
    embed, blocks, end = parts(module)
    x, probabilities, tokens = embed(x), [], []
    for norm, weight, bias, out, second, mlp, heads in blocks:
        n, count, width = x.shape
        q, k, v = functional.linear(norm(x), weight, bias).chunk(3, dim=-1)
        q, k, v = (one.view(n, count, heads, width // heads).transpose(1, 2) for one in (q, k, v))
        probabilities.append(((q @ k.transpose(2, 3)) / math.sqrt(width // heads)).softmax(-1))
        x = x + out((probabilities[-1] @ v).transpose(1, 2).flatten(2))
        x = x + mlp(second(x))
        tokens.append(x)
    return end(x), probabilities, tokens


def slow_rollout(module, image, target):
    """Chefer et al., equations 5 and 6: matrix by matrix."""
    outputs, probabilities, _ = forward(module, image[None].requires_grad_())
    gradients = torch.autograd.grad(outputs[0, target], probabilities)
    relevance = torch.eye(probabilities[0].shape[-1], dtype=image.dtype)
    for one, gradient in zip(probabilities, gradients, strict=True):
        weighted = torch.stack([(g * a).clamp(min=0) for g, a in zip(gradient[0], one[0], strict=True)]).mean(0)
        relevance = relevance + weighted @ relevance
    return square(relevance[0, 1:]).detach()


def slow_legrad(module, image, target):
    """LeGrad, equations 4 to 8, without the scaling at the end: block by block."""
    end = parts(module)[2]
    _, probabilities, tokens = forward(module, image[None].requires_grad_())
    total = 0
    for one, own in zip(probabilities, tokens, strict=True):
        (gradient,) = torch.autograd.grad(end(own)[0, target], one, retain_graph=True)
        total = total + gradient[0].clamp(min=0).sum((0, 1)) / (one.shape[1] * one.shape[2])
    return square(total[1:] / len(probabilities)).detach()


def square(values):
    side = math.isqrt(len(values))
    return values.view(side, side)
