"""What saliency and input x gradient share: noisy copies, options, memory."""

import pytest
import torch

import attribution
from attribution import Network, Smooth
from attribution.errors import InvalidOption, InvalidTarget, OutOfMemory
from tests.attribution.tiny_models import N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
METHODS = {
    "saliency": lambda *given, **options: attribution.saliency(*given, **options, signed=True),
    "input x gradient": attribution.input_x_gradient,
}


@pytest.fixture(params=METHODS)
def explain(request):
    def explained(module, inputs=None, target=TARGET, **options):
        inputs = images() if inputs is None else inputs
        return METHODS[request.param](Network(module, inputs.shape[1:]), inputs, target, **options)

    return explained


def test_an_image_is_explained_alone_as_among_others(explain):
    inputs = images(5)
    target = torch.arange(5) % N_CLASSES

    def smooth(rows):
        return Smooth([torch.Generator().manual_seed(row) for row in rows], n_samples=3)

    together = explain(tiny_model("smooth"), inputs, target, smooth=smooth(range(5)), chunk_size=2)
    for row in range(5):
        alone = explain(tiny_model("smooth"), inputs[row : row + 1], target[row : row + 1], smooth=smooth([row]))
        torch.testing.assert_close(alone.maps[0], together.maps[row], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.standard_error[0], together.standard_error[row], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["smoothgrad", "squaregrad", "vargrad"])
def test_noisy_copies_are_put_together_as_the_definition_says(explain, kind):
    module, inputs, n = tiny_model("smooth"), images(), 12
    found = explain(module, inputs, smooth=Smooth(torch.Generator().manual_seed(4), kind, n, 0.3))
    generator = torch.Generator().manual_seed(4)
    copies = [inputs + 0.3 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype) for _ in range(n)]
    maps = torch.stack([explain(module, noisy).maps for noisy in copies])
    expected = {"smoothgrad": maps.mean(0), "squaregrad": maps.square().mean(0), "vargrad": maps.var(0)}[kind]
    torch.testing.assert_close(found.maps, expected, rtol=1e-8, atol=1e-12)
    samples = {"smoothgrad": maps, "squaregrad": maps.square()}.get(kind)
    if samples is not None:
        torch.testing.assert_close(found.standard_error, samples.std(0) / n**0.5, rtol=1e-6, atol=1e-10)
    assert found.n_draws == n


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"smooth": Smooth(torch.Generator(), "mean")}, InvalidOption, "smooth.kind is 'mean'"),
        ({"smooth": Smooth(torch.Generator(), n_samples=0)}, InvalidOption, "smooth.n_samples is 0, expected 1"),
        ({"smooth": Smooth(torch.Generator(), "vargrad", 1)}, InvalidOption, "smooth.n_samples is 1, expected 2"),
        ({"smooth": Smooth(torch.Generator(), noise=0.0)}, InvalidOption, "every copy would be the same"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"against": TARGET}, InvalidTarget, "against itself"),
        ({"chunk_size": 0}, InvalidOption, "chunk_size is 0"),
    ],
)
def test_bad_options_are_told(explain, options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


@pytest.mark.parametrize("name", METHODS)
def test_memory_that_runs_out_halves_the_chunk(name):
    network = Network(hungry(tiny_model("plain"), [3], RuntimeError("out of memory")), SHAPE)
    found = METHODS[name](network, images(5), torch.zeros(5).long(), chunk_size=5)
    assert found.chunk_size == 2
    network = Network(hungry(tiny_model("plain"), most := [3], RuntimeError("out of memory")), SHAPE)
    most[0] = 0
    with pytest.raises(OutOfMemory):
        METHODS[name](network, images(2), TARGET[:2])
