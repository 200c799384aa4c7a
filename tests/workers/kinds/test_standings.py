"""How the maps of a comparison stand to each other: ranks by what was measured, and agreement by hand."""

import io

import numpy as np
import pytest
from scipy import stats

from attribution_contracts.identity import ModelIdentity
from tests.workers.kinds.test_compare import compare

__all__ = ["compare"]

SALIENCY = {"method": "saliency", "target": {"classes": [1]}}
PRODUCT = {"method": "input_x_gradient", "target": {"classes": [1]}}
GRADIENTS = {"method": "integrated_gradients", "n_steps": 4, "target": {"classes": [1]}}
QUALITY = {"deletions": {"grid": 3, "random_maps": 2}, "sensitivity": {"n_samples": 2}}


def patches(context, cell, position):
    """The means of a map in 7 x 7 patches of 32 x 32 pixels, by hand."""
    [file] = [one for one in cell.images[position].artifacts if one.quantity in ("saliency", "attributions")]
    plane = np.load(io.BytesIO(context.store.get(file.sha256))).astype(np.float64).sum(0)
    edges = [(at * len(plane) // 7, -(-(at + 1) * len(plane) // 7)) for at in range(7)]
    return [plane[top:bottom, left:right].mean() for top, bottom in edges for left, right in edges]


def test_every_map_has_its_rank_and_its_agreement_with_the_others(context, classifier, images, compare):
    job, result = compare([classifier.identity], [SALIENCY, PRODUCT, GRADIENTS], images(2), quality=QUALITY)
    assert job.status == "succeeded", job.error
    assert [(one.image, one.model) for one in result.standings] == [(0, classifier.identity), (1, classifier.identity)]
    for found in result.standings:
        assert [one.method for one in found.maps] == ["saliency", "input_x_gradient", "integrated_gradients"]
        for one, cell in zip(found.maps, result.cells, strict=True):
            [deletions], [sensitivity] = (
                getattr(cell.images[found.image], field) for field in ("deletions", "sensitivity")
            )
            own = next(score for score in deletions.scores if score.judged == "map")
            assert one.figures["deletion_saco"] == own.saco
            assert one.figures["sensitivity_maximum"] == sensitivity.scores[0].maximum
        sacos = [one.figures["deletion_saco"] for one in found.maps]
        moves = [one.figures["sensitivity_maximum"] for one in found.maps]
        assert [one.ranks["deletion_saco"] for one in found.maps] == [1 + sum(x > y for x in sacos) for y in sacos]
        assert [one.ranks["sensitivity_maximum"] for one in found.maps] == [
            1 + sum(x < y for x in moves) for y in moves
        ]
        assert "completeness_error" in found.maps[2].ranks
        said = [patches(context, cell, found.image) for cell in result.cells]
        for row, own in zip(found.agreement, said, strict=True):
            assert row == pytest.approx([stats.spearmanr(own, other).statistic for other in said], abs=1e-6)
        sentences = list(found.sentences(["a", "b", "c"]))
        assert sentences[0].startswith("the maps agree on which of 7 x 7 patches count")
        assert "deletion_saco: " in sentences[1]


def test_a_single_map_stands_alone(classifier, images, compare):
    _, result = compare([classifier.identity], [SALIENCY], images(1))
    assert result.standings == []


def test_maps_of_other_models_are_not_compared(classifier, images, compare):
    _, result = compare([classifier.identity], [SALIENCY, PRODUCT], images(1))
    [found] = result.standings
    assert found.model == ModelIdentity.model_validate(classifier.identity.model_dump())
    assert found.maps[0].figures == {}
    assert [round(found.agreement[at][at], 9) for at in (0, 1)] == [1, 1]
