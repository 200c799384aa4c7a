"""Maps of attention in a job: on the grid of patches, drawn where they were cut out."""

import torch

import attribution
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.models import Preprocessing
from tests.attribution.transformers import SHAPE, images, tiny_vit
from tests.workers.rows import row
from workers.methods.calls import Call
from workers.methods.table import METHODS


def test_each_variant_is_a_map_of_patches_with_its_place():
    network, inputs = attribution.Network(tiny_vit(), SHAPE), images(2)
    params = PARAMS["attention"].model_validate({"method": "attention", "variants": ["rollout", "legrad"]})
    rows = [row(position, one, Preprocessing(color="grey", size=SHAPE[1:])) for position, one in enumerate(inputs)]
    target = torch.tensor([[0, 1], [2, 1]])
    found = METHODS["attention"].run(
        Call(network, rows, inputs, target, params, lambda done, total: None, 2**30, lambda digest: b"")
    )
    assert [one.field for one in found.outputs] == ["rollout", "rollout", "legrad", "legrad"]
    assert all(METHODS["attention"].outputs[one.field] == "layer_magnitude" for one in found.outputs)
    assert [one.targets for one in found.outputs[:2]] == [[0, 2], [1, 1]]
    assert all(
        one.values.shape == (2, 1, 3, 3) and one.lattice[:2] == ((1.0, 1.0), (2.0, 2.0)) for one in found.outputs
    )
    sums = torch.tensor([one.sums for one in found.figures])
    torch.testing.assert_close(sums[:, 0].double(), found.outputs[0].values.sum((1, 2, 3)), rtol=1e-6, atol=1e-9)
