"""The page of a job: whole in itself, bounded, safe, and in words."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import (
    ArtifactRef,
    ClassScore,
    HeldAgainst,
    ImageResult,
    Provenance,
    TargetScore,
)
from attribution_contracts.warnings import ResultWarning, WarningCode
from workers.drawing import album
from workers.drawing.album import Album
from workers.drawing.page import Answer, page
from workers.drawing.words import of_class

EVIL = '<script>alert("1")</script>'
VOID = {"img", "meta", "br", "link"}


class Read(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.tags, self.addresses, self.headings, self.text = [], [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.addresses += [value for name, value in attributes if name in {"src", "href", "srcset", "action"}]
        if tag == "img":
            self.images.append(found)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def png(seed, side=64):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def reference(name, number, quantity, of="attributions", target=1):
    return ArtifactRef(
        name=name,
        image=0,
        target=target,
        quantity=quantity,
        of=of,
        media_type="image/png",
        href="/",
        sha256=f"{number:064x}",
        size=1,
        colormap="red_blue" if quantity == "heatmap" else None,
        range=(-0.5, 0.5) if quantity == "heatmap" else None,
    )


def image_result(position=0, name="cat", **fields):
    number = 10 * position
    return ImageResult(
        index=position,
        custom_id=None,
        sha256="0" * 64,
        prediction=[
            ClassScore(index=1, name=name, logit=4.0, probability=0.875),
            ClassScore(index=0, name="dog", logit=1.0, probability=0.125),
        ],
        targets=[TargetScore(index=1, name=name, output=4.0, sum=2.976)],
        completeness=[Completeness(target=1, convergence_delta=-0.024, relative=0.008, absolute_gap=None, n_steps=50)],
        artifacts=[
            reference(f"{position}-heatmap.png", number + 1, "heatmap"),
            reference(f"{position}-overlay.png", number + 2, "overlay"),
        ],
        **fields,
    )


def told(**fields):
    return Provenance(
        **{
            "model_name": "pets",
            "model_version": "7",
            "model_sha256": "a" * 64,
            "method": "integrated_gradients",
            "method_version": 3,
            "parameters": {"n_steps": 50},
            "seed": 12345,
            "torch": "2.0",
            "device": "cpu",
            "threads": 1,
            "worker": "w",
            "attempt": 1,
            "seconds": {},
        }
        | fields
    )


def answer(*images, seen=None, provenance=None):
    shown = seen or (lambda position: Image.new("RGB", (16, 16), (position, 100, 50)))
    return Answer("pets@7, integrated_gradients", {image.index: image for image in images}, shown, provenance or told())


def read(answers, names=("cat.png",)):
    file = page("What pets@7 looked at", list(names), answers, lambda item: png(int(item.sha256, 16)))
    return Read(file.content.decode())


def test_it_is_whole_and_needs_nothing_else():
    found = read([answer(image_result())])
    assert found.open == []
    assert found.addresses
    assert all(re.match("data:image/(png|webp);base64,", address) for address in found.addresses)
    for address in found.addresses:
        Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).verify()
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "form", "a"}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    policies = [one["content"] for _, one in found.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_image_map_overlay_and_prediction_are_there_and_described():
    found = read([answer(image_result())])
    assert [image["alt"] for image in found.images] == [
        "cat.png as the network saw it",
        "attributions",
        "attributions over the image",
    ]
    bars = [one["style"] for tag, one in found.tags if tag == "i"]
    assert bars == ["width: 87.5%", "width: 12.5%"]
    for said in ("cat.png", "predicted with 87.5 %", "against the class", "for the class", "+0.5", "pets@7"):
        assert said in found.text
    assert found.headings == [1, 2, 3, 4, 2]


def test_pictures_with_legends_of_their_own_are_at_their_own_size_and_have_no_second_colour_bar():
    plain, legends = image_result(), image_result()
    framed = [file.model_copy(update={"frame": (4.0, 30.0, 60.0, 86.0)}) for file in legends.artifacts]
    found = [read([answer(image)]) for image in (plain, legends.model_copy(update={"artifacts": framed}))]
    assert [page.text.count("for the class") for page in found] == [1, 0]
    classes = [[one.get("class") for tag, one in page.tags if tag in {"div", "span"}] for page in found]
    assert ["framed" in of_page for of_page in classes] == [False, True]
    assert [of_page.count("frame") for of_page in classes] == [3, 1]


def test_the_colours_of_a_class_against_another_are_called_by_both_and_the_start_is_told():
    image = image_result()
    [target] = image.targets
    held = HeldAgainst(index=0, name="dog", weight=1.0)
    target = target.model_copy(update={"against": [held], "output": 4.0, "baseline_output": 1.0})
    found = read([answer(image.model_copy(update={"targets": [target]}))])
    for said in ("Class cat against dog, difference +4", "for cat", "for dog"):
        assert said in found.text
    assert "The difference is +4 for the image and +1 for the baseline" in found.text
    assert "for the class" not in found.text


def test_the_last_layer_is_named_beside_what_it_is_over():
    layers = [
        reference("layers.png", 8, "layers", of=None),
        *(reference(f"{n}.png", n, "overlay", of="layer_map").model_copy(update={"layer": f"conv{n}"}) for n in (1, 2)),
    ]
    found = read([answer(image_result().model_copy(update={"artifacts": layers}))])
    assert "layer map of conv2 over the image" in found.text
    assert "conv1" not in found.text


@pytest.mark.parametrize(
    ("index", "said"), [(1, "True class: the same."), (0, "True class: dog, given 12.5 %: the prediction is wrong.")]
)
def test_the_true_class_is_told_beside_the_prediction(index, said):
    [label] = [score for score in image_result().prediction if score.index == index]
    assert said in read([answer(image_result(label=label))]).text
    assert "True class" not in read([answer(image_result())]).text


def test_where_it_comes_from():
    text = read([answer(image_result())]).text
    for said in ("integrated_gradients, version 3", "12345", "a" * 64, "attribution 0.1.0", '"n_steps": 50'):
        assert said in text


def test_the_error_is_said_in_words_and_warnings_are_there():
    warning = ResultWarning(code=WarningCode.COMPLETENESS_LARGE, target=1, detail="the map is off", advice="ask again")
    text = read([answer(image_result(warnings=[warning]))]).text
    assert "The map explains 99.2 % of the difference between image and baseline (error 0.80 %, 50 steps)." in text
    assert "the map is off. Ask again." in text


@pytest.mark.parametrize(
    ("total", "delta", "relative", "said"),
    [
        (1.0, 0.0, 0.0, "explains 100.0 % of the difference"),
        (1.5, 0.5, 0.5, "claims 50.0 % more than the difference"),
        (2.57, 1.57, 1.57, "does not explain the difference between image and baseline, but 2.57 times it"),
        (0.1, 0.1, None, "there is no difference that the map could explain"),
    ],
)
def test_every_error_has_its_words(total, delta, relative, said):
    image = image_result().model_copy(
        update={
            "targets": [TargetScore(index=1, name="cat", output=1.0, sum=total)],
            "completeness": [
                Completeness(target=1, convergence_delta=delta, relative=relative, absolute_gap=None, n_steps=5)
            ],
        }
    )
    [sentence] = of_class(image, 1)
    assert said in sentence


def test_names_are_escaped():
    file = page(EVIL, [EVIL], [answer(image_result(name=EVIL))], lambda item: png(1))
    assert b"<script" not in file.content
    assert b"&lt;script&gt;" in file.content


def test_a_picture_is_in_it_once():
    same = lambda _: Image.new("RGB", (16, 16), "#123456")  # noqa: E731
    found = read([answer(image_result(0), image_result(1), seen=same)], ["a.png", "b.png"])
    sources = [image["src"] for image in found.images]
    assert len(sources) == len(set(sources)) == 5
    assert found.text.count("the same picture as above") == 1
    twice = read([answer(image_result(), seen=same), answer(image_result(), seen=same)], ["a.png"])
    assert [image["alt"] for image in twice.images].count("a.png as the network saw it") == 1
    assert "the same picture as above" not in twice.text.partition("Class")[0]


def test_what_finds_no_room_is_left_out_by_name_and_told(monkeypatch):
    monkeypatch.setattr("workers.drawing.page.Album", lambda: Album(2 * len(png(1))))
    found = read([answer(image_result(0), image_result(1))], ["a.png", "b.png"])
    assert len(found.images) < 6
    assert "left out: 1-overlay.png" in found.text
    assert f"{6 - len(found.images)} pictures are not in this page" in found.text
    assert found.text.count("predicted with 87.5 %") == 2


def test_large_pictures_take_less_room_than_their_files():
    content = png(1, side=1600)
    placed = Album().place("0" * 64, lambda: content)
    kept = base64.b64decode(placed.source.partition(",")[2])
    assert len(kept) < len(content) / 3
    assert max(Image.open(io.BytesIO(kept)).size) == album._WIDEST


def test_images_and_explanations_that_failed_say_why():
    refused = ImageResult(
        index=1, custom_id=None, sha256="0" * 64, error=problem(ErrorCode.INVALID_IMAGE, "the PNG is truncated")
    )
    lost = Answer("pets@8, deeplift", {}, lambda _: None, None, "No image explained: no rule for a layer")
    text = read([answer(image_result(), refused), lost], ["a.png", "b.png"]).text
    assert "The image cannot be used: the PNG is truncated" in text
    assert text.count("no rule for a layer") == 2


def test_two_runs_of_one_request_give_the_same_bytes():
    first, second = (
        page("t", ["a"], [answer(image_result(), provenance=told(**own))], lambda item: png(1)).content
        for own in ({"seconds": {"draw": 1.0}, "worker": "a"}, {"seconds": {"draw": 2.0}, "worker": "b", "attempt": 2})
    )
    assert first == second
