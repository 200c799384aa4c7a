"""The files of a result have names of their own, on any file system, whatever the layers are called."""

import unicodedata

import pytest
import torch

from attribution_client import Client
from attribution_contracts.results import Result
from tests.workers import own_networks
from tests.workers.own_networks import NAMES
from tests.workers.through_http import picture, weights_of
from workers.drawing.files import Drawn, Subject
from workers.drawing.rendering import RenderedFile
from workers.jobs.outputs import Outputs

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


def alike(name):
    """What file systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def lie_beside_each_other(names):
    assert len({alike(name) for name in names}) == len(names)
    for name in names:
        assert len(name.encode()) <= 255
        assert name.partition(".")[0].rstrip(" ").lower() not in RESERVED
        assert not set(name) & set('<>:"/\\|?*')
        assert name == name.strip(" .")
        assert name.isprintable()


def test_a_download_writes_as_many_files_as_there_are(through, tmp_path):
    torch.manual_seed(0)
    through.ready("ways", "factory:ways", weights_of(own_networks.ways()))
    with Client(str(through.http.base_url)) as client:
        job, body = through.explain(
            "ways", picture(), picture(1), method="layer_shapley", layers="all", n_steps=2, target="all"
        )
        layers = {layer["layer"] for layer in body["images"][0]["layers"]}
        assert {"relu", "relu:2", *NAMES} <= layers
        result = client.result(job["id"])
        files = [artefact for _, artefact in result.files()]
        written = client.download(result, tmp_path / "there")
        assert len(written) == len(files) > 100
        content = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
        assert Result.model_validate_json(content.pop("result.json")) == result
        lie_beside_each_other([*content, "result.json"])
        for path, artefact in zip(written, files, strict=True):
            assert content[path.name] == client.artifact(artefact), artefact.layer


@pytest.mark.parametrize(
    "layers",
    [
        ["relu:2", "relu_2", "relu 2", "relu/2"],
        ["relu", "ReLU", "RELU"],
        ["con", "CON", "con.", "aux", "nul.txt", "com1", "lpt9"],
        ["é", "e\u0301", "ü", "层", "層", "🐨"],
        ["x" * 150, "x" * 300, "x" * 300 + "y", "y" + "x" * 300],
        ["ﬁ", "fi", "ß", "ss"],
        [".", "..", "...", " ", ""],
        ["a\nb", "a\tb", "a\0b"],
    ],
)
def test_members_of_every_kind(context, claimed, layers):
    drawn = Drawn(Outputs(context, claimed({"method": "self_test"})))
    for layer in layers:
        file = RenderedFile("heatmap.png", "heatmap", "image/png", layer.encode(), [1, 1])
        drawn.keep(Subject(0, 1, layer), file)
    names = [reference.name for reference in drawn.references]
    lie_beside_each_other([*names, "result.json"])
    assert all(name.endswith(".png") for name in names)
    assert [drawn.content(reference) for reference in drawn.references] == [layer.encode() for layer in layers]
