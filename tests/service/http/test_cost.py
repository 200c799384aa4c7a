"""Whatever a body holds, it is judged within a second of CPU; what a person sends is accepted."""

import base64
import io
import json
import struct
import time
import zlib
from typing import Any

import pytest
from PIL import Image

from attribution_contracts.models import LayerInfo
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams, PlayerGroups
from attribution_contracts.parameters.layers import MAX_PATTERNS, MAX_WILDCARDS
from service.http.image_headers import MAX_FILLING, MAX_SEGMENTS, UnusableImageError, read_header
from service.submission.layers import chosen_layers
from tests.service.house import House, picture, refused, sent

CPU_S = 1.0
SIZE = 16 * 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IHDR = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
CANVAS = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0\x07\0\0\x07\0\0"
TEXT = b"a\0\0" + zlib.compress(bytes(2**20 - 10))


def riff(content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


HEADS = {
    "empty markers": b"\xff\xd8" + b"\xff\xe5\0\x02" * (SIZE // 4),
    "filling": b"\xff\xd8" + b"\xff" * SIZE,
    "zeros": b"\xff\xd8\xff" + bytes(SIZE),
    "standalone markers": b"\xff\xd8" + b"\xff\x01" * (SIZE // 2),
    "comments": b"\xff\xd8" + (b"\xff\xfe\xff\xff" + bytes(65533)) * 1005,
    "empty chunks": PNG + IHDR + chunk(b"prVt") * (SIZE // 12),
    "compressed texts": PNG + IHDR + chunk(b"zTXt", TEXT) * 1200,
    "compressed profiles": PNG + IHDR + chunk(b"iCCP", TEXT) * 1200,
    "empty webp chunks": riff(CANVAS + b"abcd\0\0\0\0" * (SIZE // 8)),
    "empty frames": riff(CANVAS + b"ANMF\0\0\0\0" * (SIZE // 8)),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_tiny_pieces_are_refused_at_once(unharmed: House, name: str) -> None:
    kind = "image/jpeg" if HEADS[name].startswith(b"\xff") else "image/png" if HEADS[name][0] == 0x89 else "image/webp"
    before = time.process_time()
    with pytest.raises(UnusableImageError, match="header"):
        read_header(HEADS[name], max_pixels=10**8)
    assert time.process_time() - before < CPU_S
    refused(unharmed.http.post("/v1/images", content=HEADS[name], headers={"Content-Type": kind}), 422, "invalid_image")


def with_metadata() -> dict[str, bytes]:
    photograph, target = Image.new("RGB", (40, 30), "red"), io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    photograph.save(target, "JPEG", exif=exif, icc_profile=bytes(560_000), comment=b"y" * 60_000)
    plain = picture("JPEG", (40, 30))
    many = b"".join(b"\xff\xe5\xff\xff" + bytes(65533) for _ in range(200))
    return {
        "exif, profile, comment": target.getvalue(),
        "a depth map in 200 segments": plain[:2] + many + plain[2:],
        "filled": plain[:2] + b"\xff" * 1000 + plain[2:],
        "progressive": picture("JPEG", (40, 30), progressive=True),
        "png with text": picture("PNG", (40, 30)),
        "webp": picture("WEBP", (40, 30)),
        "lossless webp": picture("WEBP", (40, 30), lossless=True),
        "webp with a profile": picture("WEBP", (40, 30), icc_profile=bytes(5000)),
    }


@pytest.mark.parametrize("name", with_metadata())
def test_what_cameras_write_is_read(name: str) -> None:
    header = read_header(with_metadata()[name], max_pixels=10**6)
    assert (header.width, header.height) == (40, 30)


def test_limits_of_heads_are_where_they_are_said_to_be() -> None:
    plain = picture("JPEG")
    for count, accepted in ((MAX_SEGMENTS - 20, True), (MAX_SEGMENTS, False)):
        data = plain[:2] + b"\xff\xe5\0\x02" * count + plain[2:]
        if accepted:
            assert read_header(data, max_pixels=100).width == 8
        else:
            with pytest.raises(UnusableImageError, match=f"more than {MAX_SEGMENTS} segments"):
                read_header(data, max_pixels=100)
    with pytest.raises(UnusableImageError, match=f"more than {MAX_FILLING} bytes"):
        read_header(plain[:2] + b"\xff" * (MAX_FILLING + 2) + plain[2:], max_pixels=100)


@pytest.mark.parametrize("count", [60_000, 149_000])
def test_groups_with_a_duplicate(count: int) -> None:
    before = time.process_time()
    with pytest.raises(ValueError, match=f"feature map {count - 1} is named twice"):
        PlayerGroups(groups=[[*range(count), count - 1]])
    assert time.process_time() - before < CPU_S


def explained(**options: Any) -> dict[str, Any]:
    return {"model": "digits", "inputs": [sent()], "explanation": {"method": "integrated_gradients"}, **options}


def shapley(layers: list[str], **options: Any) -> dict[str, Any]:
    return {"method": "layer_shapley", "layers": layers, **options}


UNKNOWN = {
    "a thousand classes": lambda: explained(
        inputs=[sent() | {"target": {"classes": [f"digit {place:0100d}" for place in range(1000)]}}]
    ),
    "a thousand classes of forty images": lambda: explained(
        inputs=[sent() | {"target": {"classes": [f"x{place:0199d}" for place in range(1000)]}}] * 40
    ),
    "a thousand layers": lambda: explained(explanation=shapley([f"conv{place:0190d}" for place in range(1000)])),
    "a thousand layers, eight times": lambda: {
        "model": "digits",
        "inputs": [sent()],
        "explanations": [shapley([f"conv{place:0190d}" for place in range(1000)], top=top + 1) for top in range(8)],
    },
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names(house: House, name: str) -> None:
    house.add_model(labels=[f"digit {place:0100d}" for place in range(10)])
    content = json.dumps(UNKNOWN[name]()).encode()
    before = time.process_time()
    answer = house.http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert time.process_time() - before < 2 * CPU_S  # the client's part is in it
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 101
    assert "more errors are not listed" in answer.json()["errors"][-1]["detail"]


def test_patterns_are_few_and_cheap() -> None:
    few = [f"*a{place}" for place in range(MAX_PATTERNS)]
    LayerShapleyParams(method="layer_shapley", layers=few)
    with pytest.raises(ValueError, match=f"{MAX_PATTERNS + 1} are patterns, at most {MAX_PATTERNS}"):
        LayerShapleyParams(method="layer_shapley", layers=[*few, "b*"])
    with pytest.raises(ValueError, match=f"{MAX_WILDCARDS + 1} wildcards"):
        LayerShapleyParams(method="layer_shapley", raw=["*x" * (MAX_WILDCARDS + 1)])
    layers = [LayerInfo(name="a" * 190 + str(place), kind="conv", shape=[1], cuts=True) for place in range(2000)]
    before = time.process_time()
    assert not chosen_layers(["*a" * (MAX_WILDCARDS - 1) + f"{place}*b" for place in range(MAX_PATTERNS)], layers)
    assert time.process_time() - before < CPU_S


def test_many_images_with_long_heads_cost_what_their_bytes_cost(house: House) -> None:
    plain = picture("JPEG")
    image = plain[:2] + b"\xff\xe5\0\x02" * (MAX_SEGMENTS - 20) + plain[2:]
    images = [{"data": base64.b64encode(image + bytes([place])).decode()} for place in range(256)]
    before = time.process_time()
    house.submit(model="digits", inputs=images, explanation={"method": "integrated_gradients"})
    assert time.process_time() - before < 2 * CPU_S
