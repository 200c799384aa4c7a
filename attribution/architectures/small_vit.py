"""A small vision transformer."""

from torch import nn
from torchvision.models import VisionTransformer


def small_vit(in_channels: int = 3, num_classes: int = 10, side: int = 64) -> VisionTransformer:
    """Four blocks of four heads and 64 channels on patches of 8 x 8, and a class token; torchvision's network.

    Args:
        in_channels: channels of the input, at least 1.
        num_classes: number of logits, at least 1.
        side: height and width of the input in pixels, a multiple of 8.

    Returns:
        A module that maps `(batch, in_channels, side, side)` to logits `(batch, num_classes)`; 150,722 parameters for
        two classes of 64 x 64 pixels in colour.

    Raises:
        ValueError: if the side is no multiple of 8.

    Source:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".

    >>> sum(parameter.numel() for parameter in small_vit(num_classes=2).parameters())
    150722
    """
    if side < 8 or side % 8:
        raise ValueError(f"small_vit looks at patches of 8 x 8, so the side must be a multiple of 8; given {side}")
    module = VisionTransformer(
        image_size=side, patch_size=8, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=num_classes
    )
    if in_channels != 3:
        module.conv_proj = nn.Conv2d(in_channels, 64, 8, stride=8)
    # torchvision's head begins with zeros, through which no gradient reaches the image.
    nn.init.trunc_normal_(module.heads.head.weight, std=0.02)
    return module
