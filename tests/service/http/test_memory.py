"""What one request adds to the memory of a gateway: 64 MiB at most, whatever a body within the caps holds."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.settings import Settings
from tests.service.apart import Apart, apart
from tests.service.house import IG, model_spec, picture

MOST = (64 + 8) * 2**20
"""What is promised, and a little that the process itself may take meanwhile."""
LARGE = 60 * 2**20
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"

Sent = tuple[str, str, bytes]


@pytest.fixture
def gateway(settings: Settings, engine: Engine, store: ArtifactStore, broker: str, tmp_path: Path) -> Iterator[Apart]:
    with apart(settings, engine, store, broker, tmp_path / "log") as gateway:
        gateway.add_model()
        yield gateway


def image(size: int, number: int = 0) -> bytes:
    """A picture with so much behind it, as some cameras write."""
    return picture() + number.to_bytes(4, "big") * (size // 4)


def explained(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"model": "digits", "inputs": inputs, "explanation": IG, **fields}).encode()


def encoded(content: bytes) -> dict[str, Any]:
    return {"data": base64.b64encode(content).decode()}


def part(name: str, content: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (name.encode(), content)


def form(**parts: bytes) -> bytes:
    return b"".join(part(name, content) for name, content in parts.items()) + b"--x--\r\n"


def many(count: int) -> bytes:
    images = {f"p{number}": image(LARGE // count, number) for number in range(count)}
    return form(request=explained(*({"part": name} for name in images)), **images)


EMPTY = b"\x02\0\0\0\0\0\0\0{}"
"""A safetensors file without a tensor."""

ACCEPTED: dict[str, Callable[[], Sent]] = {
    "an image in base64": lambda: ("/v1/jobs", JSON, explained(encoded(image(LARGE * 3 // 4 - 1000)))),
    "images in base64": lambda: (
        "/v1/jobs",
        JSON,
        explained(*(encoded(image(LARGE * 3 // 4 // 60, number)) for number in range(60))),
    ),
    "base64 with escapes": lambda: (
        "/v1/jobs",
        JSON,
        explained(encoded(picture() + b"\xff" * (LARGE * 3 // 8 - 1000))).replace(b"/", rb"\/"),
    ),
    "an image in a part": lambda: ("/v1/jobs", FORM, many(1)),
    "images in parts": lambda: ("/v1/jobs", FORM, many(60)),
    "one part for many images": lambda: (
        "/v1/jobs",
        FORM,
        form(request=explained(*[{"part": "a"}] * 256), a=image(LARGE)),
    ),
    "an upload": lambda: ("/v1/images", "image/png", image(LARGE)),
    "an upload in a part": lambda: ("/v1/images", FORM, form(image=image(LARGE))),
    "a piece": lambda: ("/v1/pieces", "application/octet-stream", image(LARGE)),
    "weights": lambda: (
        "/v1/models",
        FORM,
        form(request=json.dumps(model_spec("big", weights={"part": "w"})).encode(), w=EMPTY + bytes(LARGE)),
    ),
}

REFUSED: dict[str, Callable[[], Sent]] = {
    "no base64": lambda: ("/v1/jobs", JSON, explained({"data": "!" * LARGE})),
    "no image in base64": lambda: ("/v1/jobs", JSON, explained({"data": "A" * LARGE})),
    "no image in a part": lambda: ("/v1/jobs", FORM, form(request=explained({"part": "a"}), a=bytes(LARGE))),
    "no image as an upload": lambda: ("/v1/images", "image/png", bytes(LARGE)),
    "a comment as long as an image": lambda: ("/v1/images", "image/jpeg", b"\xff\xd8" + b"\xff\xe5\xff\xff" * 2**14),
    "a long name": lambda: ("/v1/jobs", JSON, json.dumps({"k" * LARGE: 1}).encode()),
    "a name of eight megabytes": lambda: ("/v1/jobs", JSON, json.dumps({"k" * (2**23 - 100): 1}).encode()),
    "letters that take four bytes": lambda: (
        "/v1/jobs",
        JSON,
        json.dumps({"labels": {"a": "x" * (2**23 - 1000) + "\N{GRINNING FACE}"}}, ensure_ascii=False).encode(),
    ),
    "fifty thousand fields": lambda: (
        "/v1/jobs",
        JSON,
        json.dumps({f"k{number}": number for number in range(49_990)}).encode(),
    ),
    "fifty thousand wrong values": lambda: (
        "/v1/jobs",
        JSON,
        explained(explanation={"method": "layer_shapley", "players": {"groups": [["x"] * 49_990]}}),
    ),
    "nested too deep": lambda: ("/v1/jobs", JSON, b'{"a":' * 2**20),
    "keys without values": lambda: ("/v1/jobs", JSON, b'{"data":"' * (LARGE // 9)),
    "quotes": lambda: ("/v1/jobs", JSON, b'"' * LARGE),
    "backslashes": lambda: ("/v1/jobs", JSON, b'{"data": "' + rb"\\" * (LARGE // 2)),
    "a document in a part": lambda: ("/v1/jobs", FORM, form(request=b" " * LARGE)),
    "almost boundaries": lambda: ("/v1/jobs", FORM, form(request=explained({"part": "a"}), a=b"\r\n--" * (LARGE // 4))),
}


def added(gateway: Apart, sent: Sent) -> tuple[int, int]:
    """Status, and the peak above what the gateway had before."""
    path, kind, content = sent
    gateway.forget_peak()
    before = gateway.memory("VmRSS")
    answer = gateway.http.post(path, content=content, headers={"Content-Type": kind})
    return answer.status_code, gateway.memory("VmHWM") - before


def test_bodies_that_are_accepted(gateway: Apart) -> None:
    taken = {name: added(gateway, made()) for name, made in ACCEPTED.items()}
    print(json.dumps({name: round(size / 2**20, 1) for name, (_, size) in taken.items()}))
    assert {name: status for name, (status, _) in taken.items() if status not in (201, 202)} == {}
    assert {name: size for name, (_, size) in taken.items() if size > MOST} == {}


def test_bodies_that_are_refused(gateway: Apart) -> None:
    taken = {name: added(gateway, made()) for name, made in REFUSED.items()}
    print(json.dumps({name: round(size / 2**20, 1) for name, (_, size) in taken.items()}))
    assert {name: status for name, (status, _) in taken.items() if status not in (400, 413, 422)} == {}
    assert {name: size for name, (_, size) in taken.items() if size > MOST} == {}
