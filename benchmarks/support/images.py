"""JPEG files of a wanted size that all differ."""

import io
import random

from PIL import Image


def jpegs(count: int, *, side: int, size: int) -> list[bytes]:
    """Photographs of noise, filled up to `size` bytes; each carries a comment of its own, so that no two are alike."""
    picture = Image.effect_noise((side, side), 60).convert("RGB")
    plain = io.BytesIO()
    picture.save(plain, "JPEG", quality=85)
    content = plain.getvalue()
    missing = max(size - len(content), 32)
    dice = random.Random(1)
    return [content[:2] + b"".join(_comments(dice, missing)) + content[2:] for _ in range(count)]


def _comments(dice: random.Random, missing: int) -> list[bytes]:
    """JPEG comment segments of `missing` bytes together."""
    lengths = [min(60_000, missing - start) for start in range(0, missing, 60_000)]
    return [b"\xff\xfe" + (length + 2).to_bytes(2, "big") + dice.randbytes(length) for length in lengths]
