"""Tiny vision transformers of the same weights, whose attention is written in every way that there is."""

import math

import timm
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import ConvNeXt, MaxVit, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

SHAPE, N_CLASSES, SIDE, PATCH, WIDTH, HEADS = (2, 6, 6), 3, 3, 2, 8, 2
FORMS = ("module", "function", "written", "shared", "renamed")


class Block(nn.Module):
    def __init__(self, form: str, softmax: nn.Module, gelu: nn.Module) -> None:
        super().__init__()
        self.form, self.first, self.second = form, nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.softmax, self.gelu = softmax, gelu

    def attend(self, x):
        if self.form in ("module", "renamed"):
            return self.attention(x, x, x, need_weights=False)[0]
        if self.form == "masked":
            mask = torch.zeros(1 + SIDE * SIDE, 1 + SIDE * SIDE, dtype=torch.float64)
            return self.attention(x, x, x, need_weights=False, attn_mask=mask)[0]
        n, tokens, width = x.shape
        qkv = functional.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = qkv.reshape(n, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        if self.form == "function":
            x = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(width // HEADS)
            x = (self.softmax(scores) if self.form == "shared" else scores.softmax(-1)) @ v
        return self.attention.out_proj(x.transpose(1, 2).reshape(n, tokens, width))

    def forward(self, x):
        x = x + self.attend(self.first(x))
        hidden = self.wide(self.second(x))
        return x + self.narrow(self.gelu(hidden) if self.form == "shared" else functional.gelu(hidden))


class TinyVit(nn.Module):
    """``form`` says how attention is written; ``shared`` uses one softmax and one GELU in all blocks."""

    def __init__(self, form: str = "module", depth: int = 3, reads: str = "class") -> None:
        super().__init__()
        self.reads = reads
        self.patches = nn.Conv2d(2, WIDTH, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, 1 + SIDE * SIDE, WIDTH))
        softmax, gelu = nn.Softmax(dim=-1), nn.GELU()
        self.blocks = nn.Sequential(*(Block(form, softmax, gelu) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, N_CLASSES)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.reads == "class" else x[:, 1:].mean(1))


class Renamed(nn.Module):
    """The same under other names."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.something = inner

    def forward(self, x):
        return self.something(x)


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with weights that all matter: tokens, positions and norms too."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            scale = 0.3 if parameter.dim() < 2 else 1.2 / parameter.flatten(1).shape[1] ** 0.5
            is_scale = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(scale * drawn + (1 if is_scale else 0))
    return module


def tiny_vit(form: str = "module", **options) -> nn.Module:
    module = seeded(TinyVit(form, **options))
    return Renamed(module) if form == "renamed" else module


def images(n: int = 3, shape=SHAPE, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torchvision_vit() -> nn.Module:
    return seeded(
        VisionTransformer(
            image_size=8, patch_size=2, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=N_CLASSES
        )
    )


def timm_vit(**options) -> nn.Module:
    given = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": N_CLASSES}
    return seeded(timm.models.VisionTransformer(**given | options))


def tiny_swin(**options) -> nn.Module:
    given = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": [2, 2]}
    return seeded(SwinTransformer(**given | options, num_classes=N_CLASSES, stochastic_depth_prob=0.0))


def tiny_swin_v2() -> nn.Module:
    return tiny_swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def tiny_maxvit() -> nn.Module:
    """Of images ``(3, 32, 32)``."""
    module = MaxVit(
        input_size=(32, 32),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 16],
        block_layers=[2, 1],
        head_dim=4,
        stochastic_depth_prob=0.0,
        num_classes=N_CLASSES,
    )
    generator = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return seeded(module)


def tiny_convnext() -> nn.Module:
    stages = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)]
    return seeded(ConvNeXt(stages, stochastic_depth_prob=0.1, num_classes=N_CLASSES))


def timm_swin() -> nn.Module:
    """Of images ``(3, 16, 16)``, with the shape of :func:`tiny_swin`."""
    given = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 2}
    return seeded(timm.models.SwinTransformer(**given, num_classes=N_CLASSES))


OF_LIBRARIES = {"torchvision": torchvision_vit, "timm": timm_vit}
"""Of images ``(3, 8, 8)``: sixteen patches and a class token."""
