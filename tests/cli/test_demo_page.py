"""The demonstration's page and scores: complete in itself, true to the result, readable without sight of pictures."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import METHODS
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.render import RenderOptions
from attribution_contracts.results import ArtifactRef, ClassScore, ImageResult, TargetScore
from attribution_contracts.states import JobStatus
from cli.demo.engines import ENGINES, RENDER, SHOWN, explanation_of
from cli.demo.exhibits import Exhibit, Picture, planted_exhibit
from cli.demo.page import write_page
from cli.demo.run import Explained, Section
from cli.demo.scores import EvidenceScore, evidence_score
from cli.demo.table import percent, table
from tests.attribution_client.tiny_service import job_in, result_with
from workers.drawing.overlays import Scene
from workers.drawing.planes import limits
from workers.drawing.rendering import Shown, render
from workers.images.preprocessing import View

VOID = {"img", "meta", "br", "link"}


class Page(HTMLParser):
    """What a browser would find, and what would be wrong with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.addresses += [value for name, value in attributes if name in {"src", "href"} and value]
        if tag == "img":
            self.images.append(found)
        if tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def exhibit() -> Exhibit:
    return planted_exhibit(count=4)


def section_of(exhibit: Exhibit, folder: Path, method: str = "integrated_gradients") -> Section:
    """A section as `run` makes it, with maps of our own."""
    (folder / exhibit.name).mkdir(parents=True, exist_ok=True)
    job = job_in("job-7", JobStatus.SUCCEEDED, 4).model_copy(
        update={"model": ModelIdentity(name="planted", version=exhibit.spec.version, sha256="1" * 64)}
    )
    shown = [_explained(exhibit, picture, index, folder) for index, picture in enumerate(exhibit.pictures)]
    explanation = ENGINES[method].explanation(method, exhibit, "0" * 64)
    return Section(exhibit, method, job, result_with(job.id, []), shown, {"explanation": explanation})


def _explained(exhibit: Exhibit, picture: Picture, index: int, folder: Path) -> Explained:
    values = np.random.default_rng(index).normal(size=(3, 64, 64)).astype(np.float32)
    options = RenderOptions.model_validate(RENDER)
    displayed = Image.open(io.BytesIO(picture.content)).convert("RGB")
    files, references = {}, []
    scene = Scene(displayed, View.whole(64, 64), lambda: displayed)
    [end] = limits([values], "signed", options)
    for file in render(Shown("attributions", "signed", values, scene), end, options):
        files[file.of, file.quantity] = folder / exhibit.name / f"{index}-{file.name}"
        files[file.of, file.quantity].write_bytes(file.content)
        references.append(_reference(file, index))
    original = folder / exhibit.name / f"{picture.name}.png"
    original.write_bytes(picture.content)
    return Explained(picture, original, _image(picture, index, references), files, EvidenceScore(0.5 + index / 10, 0.1))


def _reference(file, index: int) -> ArtifactRef:
    return ArtifactRef(
        name=file.name,
        image=index,
        target=0,
        quantity=file.quantity,
        media_type=file.media_type,
        href="/v1/artifacts/0",
        sha256="0" * 64,
        size=len(file.content),
        shape=file.shape,
        colormap=file.colormap,
        range=file.range,
        of=file.of,
    )


def _image(picture: Picture, index: int, references: list[ArtifactRef]) -> ImageResult:
    return ImageResult(
        index=index,
        custom_id=None,
        sha256="0" * 64,
        prediction=[ClassScore(index=0, name="striped", logit=2.5, probability=0.987)],
        targets=[TargetScore(index=0, name="striped", output=2.5, sum=2.4)],
        completeness=[Completeness(target=0, convergence_delta=0.1, relative=0.0123, absolute_gap=None, n_steps=11)],
        artifacts=references,
    )


def read(section: Section, folder: Path) -> Page:
    return Page(write_page([section], folder / "index.html", "http://here:1").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_needs_nothing_else(exhibit, tmp_path):
    page = read(section_of(exhibit, tmp_path), tmp_path)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    for address in page.addresses:
        Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).verify()


def test_every_picture_is_described_and_outlines_are_decoration(exhibit, tmp_path):
    page = read(section_of(exhibit, tmp_path), tmp_path)
    described = [image["alt"] for image in page.images if image["alt"]]
    assert len(described) == 3 * 4
    assert {
        "Image of the class striped",
        "Heatmap (attributions) of Integrated gradients for the class striped",
    } <= set(described)
    assert sum(image.get("class") == "outline" for image in page.images) == 2 * 4
    assert all(image["alt"] == "" for image in page.images if image.get("class") == "outline")


def test_headings_descend_one_level_at_a_time(exhibit, tmp_path):
    levels = read(section_of(exhibit, tmp_path), tmp_path).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) == 1


def test_numbers_of_the_result_are_shown(exhibit, tmp_path):
    section = section_of(exhibit, tmp_path)
    text = read(section, tmp_path).text
    for part in ("98.7 %", "1.23 %", "2 of 4", "50.0 %", "80.0 %", "65.0 %", "job-7", "1" * 64):
        assert part in text
    low, high = section.pictures[0].reference("attributions").range
    assert f"+{high:.3g}" in text
    assert low == -high


def test_texts_are_escaped(exhibit, tmp_path):
    evil = [picture._replace(label="<script>alert(1)</script>") for picture in exhibit.pictures]
    section = section_of(exhibit._replace(pictures=evil), tmp_path)
    assert "<script" not in write_page([section], tmp_path / "index.html", "http://here").read_text()


def test_an_image_that_failed_says_why_and_hides_nothing(exhibit, tmp_path):
    section = section_of(exhibit, tmp_path)
    failed = ImageResult(
        index=0, custom_id=None, sha256="0" * 64, error=problem(ErrorCode.INVALID_IMAGE, "the PNG is truncated")
    )
    shown = [section.pictures[0]._replace(image=failed, files={}, evidence=None), *section.pictures[1:]]
    page = read(section._replace(pictures=shown), tmp_path)
    assert "The image cannot be used: the PNG is truncated" in page.text
    assert len([image for image in page.images if image["alt"]]) == 3 * 3
    assert "truncated" in printed(section._replace(pictures=shown))


def test_the_command_on_the_page_is_a_valid_request_for_a_file_that_is_there(exhibit, tmp_path):
    section = section_of(exhibit, tmp_path)
    text = read(section, tmp_path).text
    assert "curl -sS http://here:1/v1/jobs" in text
    request = JobRequest.model_validate_json(text.partition("-F 'request=")[2].partition("'")[0])
    assert request.model == f"planted@{exhibit.spec.version}"
    file = text.partition("-F image=@")[2].split()[0]
    assert (tmp_path / file).read_bytes() == exhibit.pictures[0].content


@pytest.mark.parametrize("method", sorted(name for name, params in METHODS.items() if params.has_engine))
def test_every_method_is_asked_for_something_the_service_understands(exhibit, method):
    assert METHODS[method].model_validate(explanation_of(method, exhibit, "0" * 64)).method == method


@pytest.mark.parametrize("part", SHOWN)
def test_every_part_says_what_it_answers(part):
    assert SHOWN[part].question.format(reference="X")
    RenderOptions.model_validate(RENDER)


def printed(section: Section) -> str:
    output = io.StringIO()
    Console(file=output, width=80).print(table(section))
    return output.getvalue()


def test_the_table_fits_a_terminal_and_has_every_image(exhibit, tmp_path):
    lines = printed(section_of(exhibit, tmp_path)).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if "98.7 %" in line]
    assert [row.split()[0] for row in rows] == [picture.name for picture in exhibit.pictures]
    assert all("1.23 %" in row and "11" in row for row in rows)


def test_shares_are_percentages():
    assert (percent(None), percent(0.5), percent(0.01234, 2)) == ("-", "50.0 %", "1.23 %")


def test_the_score_counts_positive_values_of_summed_channels():
    values = np.zeros((2, 2, 2), dtype=np.float32)
    values[:, 0, 0] = (3, -1)
    values[:, 0, 1] = (-5, 1)
    values[:, 1, 1] = (4, 2)
    evidence = np.array([[False, True], [False, True]])
    assert evidence_score(values, evidence) == EvidenceScore(share=0.75, area=0.5)
    assert evidence_score(-np.ones((1, 2, 2), dtype=np.float32), evidence) is None


def test_planted_pictures_alternate_between_the_classes(exhibit):
    assert [picture.label for picture in exhibit.pictures] == ["striped", "chequered"] * 2
    assert len({picture.content for picture in exhibit.pictures}) == 4
    assert all(picture.evidence is not None and 0 < picture.evidence.mean() < 0.3 for picture in exhibit.pictures)


def test_a_version_is_named_after_the_weights(exhibit):
    assert exhibit.spec.version == planted_exhibit().spec.version
    assert exhibit.spec.version.startswith("demo-")
