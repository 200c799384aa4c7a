"""Relevance through torchvision's and timm's windowed attention and convolutional networks, written out.

Nothing here is shared with the engine: windows are masks over all places of a feature map, and each rule is a detached
tensor in an ordinary forward pass, whose gradient times the input is the relevance.
"""

import math

import torch
from torch import nn
from torch.nn import functional


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient / 2


def normed(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred**2).mean(-1, keepdim=True).add(norm.eps).sqrt().detach()
    return centred / deviation * norm.weight + norm.bias


def by_quotient(function, x):
    return x * (function(x) / x).detach()


def unit(x, rule):
    length = x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return x / (length.detach() if rule == "attn" else length)


def attend(q, k, v, scores_of, rule):
    """Attention of (batch, heads, tokens, width) with what is added to its scores."""
    if rule == "cp":
        return scores_of(q, k).softmax(-1).detach() @ v
    q, k, v = Halved.apply(q), Halved.apply(k), Halved.apply(v)
    return Halved.apply(scores_of(q, k).softmax(-1)) @ v


def same_window(rows, columns, window, shift):
    """Which places of a feature map see each other: in one shifted window, and not across the map's edge."""
    row, column = (one.flatten() for one in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    shifted_row, shifted_column = (row - shift[0]) % rows, (column - shift[1]) % columns
    windows = torch.stack([shifted_row // window[0], shifted_column // window[1]])
    # What was rolled round the edge is not next to what it lies beside now.
    wrapped = torch.stack([shifted_row >= rows - shift[0], shifted_column >= columns - shift[1]])
    places = torch.cat([windows, wrapped.long()])
    sees = (places[:, :, None] == places[:, None, :]).all(0)
    inside = torch.stack([shifted_row % window[0], shifted_column % window[1]])
    return sees, inside


def relative_bias(table, inside, window):
    """What is added to the scores of each pair of places, (heads, places, places)."""
    apart = inside[:, :, None] - inside[:, None, :]
    index = (apart[0] + window[0] - 1) * (2 * window[1] - 1) + apart[1] + window[1] - 1
    return table[index.clamp(0, len(table) - 1)].permute(2, 0, 1)


def windowed(attention, x, rule):
    """torchvision's windowed attention of (1, rows, columns, width), as attention of all places with a mask."""
    _, own_rows, own_columns, width = x.shape
    window, heads = attention.window_size, attention.num_heads
    x = functional.pad(x, (0, 0, 0, -own_columns % window[1], 0, -own_rows % window[0]))
    _, rows, columns, _ = x.shape
    shift = [0 if window[axis] >= x.shape[1 + axis] else attention.shift_size[axis] for axis in (0, 1)]
    sees, inside = same_window(rows, columns, window, shift)
    bias, scale = attention.qkv.bias, getattr(attention, "logit_scale", None)
    if scale is None:
        added = relative_bias(attention.relative_position_bias_table, inside, window)
    else:
        table = attention.cpb_mlp(attention.relative_coords_table).view(-1, heads)
        added = 16 * torch.sigmoid(relative_bias(table, inside, window))
        bias = torch.cat([bias[:width], 0 * bias[:width], bias[2 * width :]])

    def scores_of(q, k):
        if scale is None:
            found = q @ k.mT / math.sqrt(width // heads)
        else:
            found = unit(q, rule) @ unit(k, rule).mT * scale.clamp(max=math.log(100)).exp()
        return (found + added).masked_fill(~sees, -math.inf)

    qkv = functional.linear(x.reshape(1, rows * columns, width), attention.qkv.weight, bias)
    q, k, v = (one.view(1, -1, heads, width // heads).transpose(1, 2) for one in qkv.chunk(3, dim=-1))
    out = attend(q, k, v, scores_of, rule).transpose(1, 2).reshape(x.shape)
    return functional.linear(out, attention.proj.weight, attention.proj.bias)[:, :own_rows, :own_columns]


def merged(part, x, is_second):
    """Four neighbours as one place."""
    x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
    return normed(part.norm, part.reduction(x)) if is_second else part.reduction(normed(part.norm, x))


def swin(module, x, rule):
    """torchvision's Swin, of either version."""
    patches, norm = module.features[0][0], module.features[0][2]
    x = normed(norm, patches(x).permute(0, 2, 3, 1))
    is_second = hasattr(module.features[1][0].attn, "logit_scale")
    for part in module.features[1:]:
        if not isinstance(part, nn.Sequential):
            x = merged(part, x, is_second)
            continue
        for block in part:
            if is_second:
                x = x + normed(block.norm1, windowed(block.attn, x, rule))
                x = x + normed(block.norm2, perceptron(block.mlp[0], block.mlp[3], x))
            else:
                x = x + windowed(block.attn, normed(block.norm1, x), rule)
                x = x + perceptron(block.mlp[0], block.mlp[3], normed(block.norm2, x))
    return module.head(normed(module.norm, x).mean((1, 2)))


def perceptron(wide, narrow, x):
    return narrow(by_quotient(functional.gelu, wide(x)))


def convnext(module, x, _):
    """torchvision's ConvNeXt."""
    for place, part in enumerate(module.features):
        if place % 2:
            for block in part:
                depthwise, _, norm, wide, _, narrow, _ = block.block
                inner = depthwise(x).permute(0, 2, 3, 1)
                x = x + block.layer_scale * perceptron(wide, narrow, normed(norm, inner)).permute(0, 3, 1, 2)
        elif place:
            x = part[1](channels_first(part[0], x))
        else:
            x = channels_first(part[1], part[0](x))
    return module.classifier[2](channels_first(module.classifier[0], x.mean((2, 3), keepdim=True)).flatten(1))


def channels_first(norm, x):
    return normed(norm, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def maxvit(module, x, rule):
    """torchvision's MaxViT, whose windows and grids are masks over all places."""
    stem_conv, stem_norm = module.stem[0][0], module.stem[0][1]
    x = module.stem[1][0](by_quotient(functional.gelu, stem_norm(stem_conv(x))))
    for block in module.blocks:
        for layer in block.layers:
            x = inverted(layer.layers.MBconv, x)
            for part, is_grid in ((layer.layers.window_attention, False), (layer.layers.grid_attention, True)):
                x = partitioned(part, x, rule, is_grid=is_grid)
    _, _, norm, wide, _, last = module.classifier
    return last(by_quotient(torch.tanh, wide(normed(norm, x.mean((2, 3))))))


def inverted(part, x):
    layers = part.layers
    inner = layers.pre_norm(x)
    for convolution in (layers.conv_a, layers.conv_b):
        inner = by_quotient(functional.gelu, convolution[1](convolution[0](inner)))
    gate = layers.squeeze_excitation
    squeezed = functional.silu(gate.fc1(inner.mean((2, 3), keepdim=True)))
    inner = inner * torch.sigmoid(gate.fc2(squeezed)).detach()
    return part.proj(x) + layers.conv_c(inner)


def partitioned(part, x, rule, *, is_grid):
    _, width, rows, columns = x.shape
    size = part.attn_layer[1].size
    row, column = (one.flatten() for one in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    if is_grid:
        # Of a grid those see each other that lie at the same place of its cells.
        groups = torch.stack([row % (rows // size), column % (columns // size)])
        inside = torch.stack([row // (rows // size), column // (columns // size)])
    else:
        groups, inside = torch.stack([row // size, column // size]), torch.stack([row % size, column % size])
    sees = (groups[:, :, None] == groups[:, None, :]).all(0)
    norm, attention = part.attn_layer[0], part.attn_layer[1]
    added = relative_bias(attention.relative_position_bias_table, inside, (size, size))

    def scores_of(q, k):
        return (q @ k.mT * width**-0.5 + added).masked_fill(~sees, -math.inf)

    x = x.flatten(2).transpose(1, 2)
    q, k, v = attention.to_qkv(normed(norm, x)).chunk(3, dim=-1)
    q, k, v = (one.view(1, -1, attention.n_heads, attention.head_dim).transpose(1, 2) for one in (q, k, v))
    x = x + attention.merge(attend(q, k, v, scores_of, rule).transpose(1, 2).flatten(2))
    x = x + perceptron(part.mlp_layer[1], part.mlp_layer[3], normed(part.mlp_layer[0], x))
    return x.transpose(1, 2).view(1, width, rows, columns)


def relevance(forward, module, image, target, rule):
    """Gradient times input of one image and class, and the logit."""
    image = image[None].clone().requires_grad_()
    logit = forward(module, image, rule)[0, target]
    logit.backward()
    return (image * image.grad)[0].detach(), logit.detach()
