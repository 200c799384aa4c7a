"""Names of files that lie beside each other on any file system."""

import pytest

from attribution_contracts.file_names import FileNames
from attribution_contracts.results import ArtifactRef, CellResult, Counts, ImageResult, Provenance, Result
from tests.storage.helpers import identity


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["layer-relu_2.npy", "layer-relu_2.npy"], ["layer-relu_2.npy", "layer-relu_2-2.npy"]),
        (["relu.png", "ReLU.png"], ["relu.png", "ReLU-2.png"]),
        (["a.png", "a.png", "a-2.png", "A-2.png"], ["a.png", "a-2.png", "a-2-2.png", "A-2-3.png"]),
        (["e\u0301.png", "\u00e9.png"], ["e\u0301.png", "\u00e9-2.png"]),
        ([".hidden", ".hidden"], [".hidden", ".hidden-2"]),
        (["plain", "plain"], ["plain", "plain-2"]),
        (["Result.json"], ["Result-2.json"]),
    ],
)
def test_each_has_its_own(given: list[str], expected: list[str]) -> None:
    names = FileNames("result.json")
    assert [names.own(name) for name in given] == expected


def test_long_names_lose_their_middle() -> None:
    names = FileNames()
    first, second = (names.own(f"image-0-layer-{'block.' * 60}{end}-heatmap.png") for end in "ab")
    assert len(first) == 200
    assert first.startswith("image-0-layer-block.")
    assert first.endswith("block.a-heatmap.png")
    assert second.endswith("block.b-heatmap.png")


def test_files_of_a_stored_result_whose_names_are_alike() -> None:
    """As older versions wrote them, and as a comparison joins them from jobs that know nothing of each other."""

    def file(name: str) -> ArtifactRef:
        return ArtifactRef(
            name=name, image=0, target=None, quantity="q", media_type="image/png", href="", sha256="0" * 64, size=1
        )

    provenance = Provenance(
        **dict.fromkeys(("model_name", "model_version", "model_sha256", "torch")),
        **dict.fromkeys(("method", "device", "worker"), "x"),
        **dict.fromkeys(("method_version", "seed", "threads", "attempt"), 1),
        parameters={},
        seconds={},
    )
    images = [ImageResult(index=0, custom_id=None, sha256="0" * 64, artifacts=[file("a.png"), file("A.png")])]
    cells = [
        CellResult(job="j", model=identity(name), method="m", explanation=0, images=images) for name in ("dog", "Dog")
    ]
    counts = Counts(images=1, succeeded=1, failed=0)
    result = Result(job="j", kind="compare", counts=counts, images=images, cells=cells, provenance=provenance)
    names = [name for name, _ in result.files()]
    assert len({name.casefold() for name in names}) == len(names) == 6
