"""Pictures put in and maps taken out."""

import io

import numpy as np
from PIL import Image

SIDE = 16


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def raw(context, image, column=0):
    found = [item for item in image.artifacts if item.media_type == "application/x-npy"]
    return np.load(io.BytesIO(context.store.get(found[column].sha256)))
