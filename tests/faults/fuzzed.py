"""Requests that are almost right: heads, chunks, parts, JSON, images, weights and archives, each a little broken."""

import base64
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.service.house import IG, SELF_TEST, model_spec, picture

JSON = b"application/json"
FORM = b"multipart/form-data; boundary=x"
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, 1e308, "", "x", "\x00", "é\N{GRINNING FACE}", "a" * 5000, [], {}, [[]], {"": None},
    "digits", "digits@1", "0" * 64, "all", float("inf"), float("nan"), ["one"] * 50, {"data": "A" * 5000},
]  # fmt: skip
PATHS = [
    "/v1/jobs", "/v1/images", "/v1/models", "/v1/datasets", "/v1/pieces", "/v1/jobs/job_x/cancel", "/v1/methods", "/",
    "/healthz", "/v1/jobs/job_x/events", "/v1/artifacts/" + "0" * 64, "/v1/models/digits/versions", "/openapi.json",
]  # fmt: skip
TOKENS = [b"\r\n", b"\n", b"\x00", b":", b" ", b"%", b"--x", b"--x--", b'"', b"{", b"\\", b"\xff", b";", b"0\r\n\r\n"]


def http(path: str, kind: bytes, body: bytes, verb: bytes = b"POST", *fields: bytes) -> bytes:
    head = b"\r\n".join(
        [b"%s %s HTTP/1.1" % (verb, path.encode()), b"Host: x", b"Connection: close", b"Content-Type: " + kind, *fields]
    )
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def form(**parts: bytes) -> bytes:
    found = (
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in parts.items()
    )
    return b"".join(found) + b"--x--\r\n"


def mutated(dice: random.Random, content: bytes, most: int = 6) -> bytes:
    """A few bytes changed, added, repeated or cut."""
    found = bytearray(content)
    for _ in range(dice.randint(1, most)):
        place = dice.randrange(len(found) + 1)
        end = min(len(found), place + dice.choice([1, 2, 4, 30, 400]))
        kind = dice.randrange(5)
        if kind == 0:
            del found[place:end]
        elif kind == 1:
            found[place:place] = dice.choice(TOKENS)
        elif kind == 2:
            found[place:end] = dice.randbytes(end - place)
        elif kind == 3:
            found[place:place] = found[place:end] * dice.choice([1, 3, 50])
        elif place < len(found):
            found[place] ^= 1 << dice.randrange(8)
    return bytes(found)


def explained(**fields: Any) -> dict[str, Any]:
    image = base64.b64encode(picture()).decode()
    return {"model": "digits", "inputs": [{"data": image}], "explanation": IG, "labels": {"a": "b"}, **fields}


def documents(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """A document that is right, and where it goes."""
    comparison = explained(models=["digits", "digits@1"])
    del comparison["model"]
    task = {"model": "digits", "dataset": "flowers", "task": {"task": "fit", "n_initial": 3}}
    spec = model_spec(f"m{dice.randrange(20)}", backgrounds={"a": ["0" * 64]})
    shapley = {"method": "layer_shapley", "layers": ["fc*"], "players": {"groups": [[0, 1], [2]]}}
    return dice.choice(
        [
            ("/v1/jobs", explained()),
            (
                "/v1/jobs",
                explained(explanation={**IG, "target": {"classes": ["one", 2]}, "baselines": [{"kind": "zero"}]}),
            ),
            ("/v1/jobs", explained(quality={"occlusion": {}}, render={"overlay": "none"}, deadline_s=5.0)),
            ("/v1/jobs", explained(explanation=shapley)),
            ("/v1/jobs", comparison),
            ("/v1/jobs", task),
            ("/v1/jobs", dict(SELF_TEST)),
            ("/v1/models", spec),
            ("/v1/datasets", {"name": "flowers", "source": {"pieces": ["0" * 64]}, "labels": ["a", "b"]}),
        ]
    )


def reshaped(dice: random.Random, value: Any) -> Any:
    """The value with one of its nodes replaced, removed or wrapped."""
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            return {name: one for name, one in value.items() if name != key} | {key + "x": value[key]}
        return {**value, key: reshaped(dice, value[key])}
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        return [*value[:place], reshaped(dice, value[place]), *value[place + 1 :]] * dice.choice([1, 1, 1, 300])
    return dice.choice([*VALUES, [value], {"a": value}])


def heads(dice: random.Random) -> bytes:
    """A request whose head is broken."""
    verb = dice.choice([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"BREW"])
    fields = [
        b"Prefer: wait=%s" % dice.choice([b"0", b"-1", b"1e9", b"9" * 40, b"x"]),
        b"Idempotency-Key: " + dice.choice([b"a b", b"k", b"x" * 300, b"\xe9"]),
        b"Range: bytes=%s" % dice.choice([b"0-", b"-0", b"9-1", b"0-0,2-3", b"x"]),
        b"If-None-Match: " + dice.choice([b"*", b'W/"1"', b"\xff"]),
        b"Last-Event-ID: " + dice.choice([b"9" * 400, b"-1", b"\xc2\xb2"]),
        b"Transfer-Encoding: " + dice.choice([b"chunked", b"gzip, chunked", b"identity"]),
        b"Content-Encoding: gzip", b"Expect: 100-continue", b"Upgrade: websocket", b"Content-Length: 3", b"A: \x00",
    ]  # fmt: skip
    path = dice.choice(PATHS) + dice.choice(["", "?limit=%00", "?cursor=%F0%28", "/../x", "%2e%2e/", "?a=" + "b" * 300])
    whole = http(path, JSON, json.dumps(SELF_TEST).encode(), verb, *dice.sample(fields, dice.randrange(4)))
    head, end, body = whole.partition(b"\r\n\r\n")
    return (mutated(dice, head, 3) if dice.random() < 0.7 else head) + end + body


def chunks(dice: random.Random) -> bytes:
    """A chunked body whose frames are broken."""
    path, document = documents(dice)
    body, frames = json.dumps(document).encode(), b""
    while body:
        size = dice.randint(1, 200)
        frames += b"%x%s\r\n%s\r\n" % (len(body[:size]), dice.choice([b"", b"", b";a=b"]), body[:size])
        body = body[size:]
    frames += b"0\r\n" + dice.choice([b"", b"X-Trailer: y\r\n"]) + b"\r\n"
    head = http(path, JSON, b"").rpartition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + (mutated(dice, frames, 3) if dice.random() < 0.8 else frames)


def parts(dice: random.Random) -> bytes:
    """A multipart body that is broken between its parts, or in one."""
    request = json.dumps(explained(inputs=[{"part": "a"}, {"part": "b"}])).encode()
    body = form(request=request, a=picture(), b=mutated(dice, picture("JPEG")))
    return http(
        dice.choice(["/v1/jobs", "/v1/images", "/v1/models"]),
        mutated(dice, FORM, 1) if dice.random() < 0.1 else FORM,
        mutated(dice, body),
    )


def shapes(dice: random.Random) -> bytes:
    """A document whose shape is another."""
    path, document = documents(dice)
    for _ in range(dice.randint(1, 3)):
        document = reshaped(dice, document)
    text = json.dumps(document).encode()
    return http(path, JSON, mutated(dice, text, 2) if dice.random() < 0.2 else text)


def images(dice: random.Random) -> bytes:
    """An image whose head is broken, sent in one of the four ways."""
    kind = dice.choice(["PNG", "JPEG", "WEBP"])
    image = mutated(dice, picture(kind, (dice.randint(1, 40), 9)))
    if dice.random() < 0.5:
        image += dice.randbytes(2000)
    way = dice.randrange(4)
    if way == 0:
        return http("/v1/images", b"image/" + kind.lower().encode(), image)
    if way == 1:
        return http("/v1/images", FORM, form(image=image))
    if way == 2:
        request = json.dumps(explained(inputs=[{"part": "a"}])).encode()
        return http("/v1/jobs", FORM, form(request=request, a=image))
    return http("/v1/jobs", JSON, json.dumps(explained(inputs=[{"data": base64.b64encode(image).decode()}])).encode())


def uploads(dice: random.Random) -> bytes:
    """Weights and archives that a worker would have to open, broken; the gateway passes them on."""
    target = io.BytesIO()
    kind = dice.randrange(3)
    if kind == 0:
        np.save(target, np.zeros((3, 4), np.float32))
    elif kind == 1:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("a/1.png", picture())
            archive.writestr("../b/2.png", picture())
    else:
        header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
        target.write(struct.pack("<Q", len(header)) + header + bytes(16))
    file = mutated(dice, target.getvalue())
    if dice.random() < 0.3:
        return http("/v1/pieces", b"application/octet-stream", file)
    name = f"u{dice.randrange(10**6)}"
    if dice.random() < 0.5:
        spec = model_spec(name, weights={"part": dice.choice(["w", "w", "v"])})
        return http("/v1/models", FORM, form(request=json.dumps(spec).encode(), w=file))
    source = {"name": name, "source": {"part": dice.choice(["w", "w", "v"])}}
    return http("/v1/datasets", FORM, form(request=json.dumps(source).encode(), w=file))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "heads": heads, "chunks": chunks, "parts": parts, "shapes": shapes, "images": images, "uploads": uploads,
}  # fmt: skip
