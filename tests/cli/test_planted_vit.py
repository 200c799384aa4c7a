"""The small vision transformer of the planted pictures."""

from cli.demo import planted, planted_vit
from tests.cli.test_demo_data import PREDICTED_FROM, accuracy
from workers.models.loading import load


def test_its_weights_are_right_on_pictures_that_nobody_has_seen():
    assert planted_vit.WEIGHTS.stat().st_size < 400_000
    network = load(planted_vit.SPEC, planted_vit.WEIGHTS, {})
    assert accuracy(network, planted.examples(range(PREDICTED_FROM, PREDICTED_FROM + 200))) >= 0.97
