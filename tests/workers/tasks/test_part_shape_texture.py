"""Cues over a data set: what is reported against one image at a time, the table and the pictures."""

import csv
import io

import pytest
import torch
from PIL import Image

from attribution.data_sets.carried import carried
from attribution.perturbation import cues as pictures
from tests.workers.data_sets import COUNTS
from workers.methods.baselines import generator_of

TASK = {"task": "part_shape_texture", "n_examples": 3}
IMAGES = sum(COUNTS)
MADE = {
    "shuffled": lambda image, dice: pictures.patches_shuffled(image, [dice]),
    "occluded": lambda image, dice: pictures.parts_occluded(image, [dice]),
    "silhouette": lambda image, _: pictures.silhouettes(image),
    "texture": lambda image, _: pictures.textures(image),
    "blurred": lambda image, _: pictures.blurred(image),
    "edges": lambda image, _: pictures.edges(image),
}


def answered(over, cue, digests, seed=0):
    """The probabilities `(n, classes)`, image by image."""
    preprocessing = over.classifier.spec.preprocessing
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (preprocessing.mean, preprocessing.std))
    rows = []
    for row, digest in zip(over.batches()[0][0], digests, strict=True):
        image = (row.unsqueeze(0) * std + mean).clamp(0, 1)
        left = MADE[cue](image, generator_of(seed, digest, cue))
        rows.append(over.classifier.network.logits((left - mean) / std).softmax(1)[0])
    return torch.stack(rows)


def test_it_is_what_one_image_at_a_time_gives(over):
    from hashlib import sha256

    digests = [sha256(content).hexdigest() for content in over.files.values()]
    results = [over.run(TASK | {"shard_images": size}) for size in (5, 500)]
    one, whole = (result.details["report"] for result in results)
    for first, second in zip(one.pop("cues"), whole["cues"], strict=True):
        assert first.pop("cue") == second["cue"]
        assert first == pytest.approx({name: value for name, value in second.items() if name != "cue"}, rel=1e-4)
    rows = list(csv.DictReader(io.StringIO(over.content(results[1], "answers").decode())))
    assert [row["image"] for row in rows] == list(over.files)
    [(inputs, labels)] = over.batches()
    intact = over.classifier.network.logits(inputs)
    for figures in whole["cues"]:
        cue = figures["cue"]
        sure = answered(over, cue, digests)
        own, before = (one.gather(1, labels.unsqueeze(1))[:, 0] for one in (sure, intact.softmax(1)))
        assert [int(row[f"{cue}_prediction"]) for row in rows] == sure.argmax(1).tolist()
        assert [float(row[f"{cue}_label_probability"]) for row in rows] == pytest.approx(own.tolist(), abs=1e-4)
        wanted = carried(labels, intact.argmax(1), sure.argmax(1))
        assert (figures["accuracy"], figures["carried"]) == (wanted.accuracy, wanted.carried)
        assert figures["moved"] == pytest.approx(float((own - before).mean()), abs=1e-5)
    for quantity in ("cues", "carried"):
        Image.open(io.BytesIO(over.content(results[0], quantity))).verify()


def test_the_seed_draws_the_lots(over):
    some = TASK | {"cues": ["shuffled", "edges"], "grid": 8, "n_examples": 0}
    one, other = (over.run(some, seed=seed) for seed in (1, 2))
    assert over.content(one, "answers") != over.content(other, "answers")
    assert over.content(one, "answers") == over.content(over.run(some, seed=1), "answers")
    assert [found["cue"] for found in one.details["report"]["cues"]] == ["shuffled", "edges"]
    assert {file.quantity for file in one.artifacts} == {"carried", "answers"}
