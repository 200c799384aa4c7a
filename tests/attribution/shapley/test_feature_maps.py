import pytest
import torch
from torch import nn

from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError
from attribution.networks.network import Network
from attribution.passes.tails import Tail
from attribution.shapley.feature_maps import feature_map_shapley
from attribution.shapley.players import Cells, Groups
from tests.attribution.shapley.slow_shapley import layer_worth, shapley_values
from tests.attribution.tiny_models import MODELS, SHAPE, images, tiny_model

BACKGROUND = images(3, seed=5)
TARGET = torch.tensor([[0, 2], [1, 0]])


def shapley(module, layer, pictures=None, target=TARGET, **options):
    pictures = images(2) if pictures is None else pictures
    network = module if isinstance(module, Network) else Network(module, SHAPE)
    background = options.pop("background", BACKGROUND).to(pictures.dtype)
    return feature_map_shapley(network, pictures, target, layer, background=background, **options)


def owned_maps(shape=(4, 6, 6)):
    return [torch.zeros(shape, dtype=torch.bool).index_fill_(0, torch.tensor([one]), 1) for one in range(shape[0])]


@pytest.mark.parametrize("excluded", ["mean", "average"])
@pytest.mark.parametrize(
    ("name", "layer", "call"),
    [
        ("plain", "0", 1),
        ("in_place_relu", "0", 1),
        ("reused_relu", "relu", 1),
        ("residual", "conv1", 1),
        ("residual", "bn2", 1),
        ("residual", "relu", 1),
        ("concatenation", "right", 1),
        ("smooth", "0", 1),
    ],
)
def test_exact_values_equal_the_formula(name, layer, call, excluded):
    module = tiny_model(name).eval()
    found = shapley(module, layer if call == 1 else f"{layer}:{call}", excluded=excluded)
    assert found.sampler == "exact"
    assert found.standard_error is None
    n = found.values.shape[2]
    for row, picture in enumerate(images(2)):
        for place, target in enumerate(TARGET[row].tolist()):
            worth = layer_worth(module, picture, layer, target, BACKGROUND, owned_maps((n, 6, 6)), excluded, call)
            assert torch.allclose(found.values[row, place], shapley_values(worth, n), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("players", [Groups([[3, 0], [1], [2]]), Cells(2, 2)])
def test_groups_and_cells_equal_the_formula(players):
    module = tiny_model("residual").eval()
    found = shapley(module, "conv1", players=players)
    if isinstance(players, Groups):
        maps = owned_maps()
        owned = [sum(maps[one] for one in members).bool() for members in players.members]
    else:
        owned = [torch.zeros(4, 6, 6, dtype=torch.bool) for _ in range(4)]
        for cell in range(4):
            owned[cell][:, 3 * (cell // 2) : 3 * (cell // 2) + 3, 3 * (cell % 2) : 3 * (cell % 2) + 3] = True
    worth = layer_worth(module, images(2)[1], "conv1", 0, BACKGROUND, owned)
    assert torch.allclose(found.values[1, 1], shapley_values(worth, len(owned)), rtol=1e-9)


def test_a_linear_tail_has_the_closed_form():
    module = tiny_model("adaptive_pool").eval()
    found = shapley(module, "4.0")
    assert found.sampler == "linear"
    with torch.no_grad():
        features, absent = (module[:4](one).flatten(1) for one in (images(2), BACKGROUND))
    weight = module[4][1].weight
    expected = weight[TARGET] * (features - absent.mean(0)).unsqueeze(1)
    assert torch.allclose(found.values, expected, rtol=1e-9)
    for other in (shapley(module, "1"), shapley(module, "1", excluded="average")):
        assert other.sampler == "linear"
        assert torch.allclose(other.values, shapley(module, "1", sampler="exact").values, rtol=1e-9)


SAMPLED = [{"sampler": "permutations", "n_samples": 64}, {"sampler": "regression", "n_samples": 64}]
EVERY = [{"sampler": "exact"}, *SAMPLED]


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize("name", ["plain", "residual", "max_pool", "concatenation"])
def test_values_sum_to_what_all_players_change(name, options):
    module = tiny_model(name).eval()
    layer = {"residual": "bn2", "concatenation": "left"}.get(name, "0")
    found = shapley(module, layer, **options)
    n = found.values.shape[2]
    worth = layer_worth(module, images(2)[0], layer, 0, BACKGROUND, owned_maps((n, 6, 6)))
    assert float(found.values[0, 0].sum()) == pytest.approx(worth(set(range(n))) - worth(set()), rel=1e-9)
    assert float(found.convergence_delta.abs().max()) < 1e-9


class Players(nn.Module):
    """Feature map i of the first convolution is used as told: 0 and 1 alike, 2 not at all."""

    def __init__(self):
        super().__init__()
        self.spread = nn.Conv2d(2, 4, 1, bias=False)
        self.spread.weight.data = torch.tensor([[1.0, 0.5], [1.0, 0.5], [2.0, 1.0], [-0.5, 0.3]])[:, :, None, None]

    def forward(self, x):
        a = self.spread(x).mean((2, 3))
        total = torch.relu(a[:, 0] + a[:, 1] + 0.5 * a[:, 3]) + a[:, 0] * a[:, 1] * a[:, 3]
        return torch.stack([total, 2 * total + a[:, 3] ** 2, 0 * a[:, 2]], dim=1)


def test_axioms():
    network = Network(Players().double(), SHAPE)
    target = torch.tensor([[0, 1, 2]] * 2)
    for options in ({"sampler": "exact"}, {"sampler": "permutations", "n_samples": 4000}):
        values = shapley(network, "spread", target=target, **options).values
        assert float(values[:, :, 2].abs().max()) < 1e-12, "a dummy gets nothing"
        assert float(values[:, 2].abs().max()) < 1e-12, "a constant gives nothing"
    values = shapley(network, "spread", target=target).values
    assert torch.allclose(values[:, :, 0], values[:, :, 1], rtol=1e-9), "equal players get the same"
    # The second output is twice the first and a square of player 3 alone.
    rest = values[:, 1] - 2 * values[:, 0]
    assert float(rest[:, [0, 1, 2]].abs().max()) < 1e-9, "values of a sum are sums of values"
    assert float(rest[:, 3].abs().min()) > 1e-6


@pytest.mark.parametrize("options", SAMPLED)
def test_a_batch_changes_no_image(options):
    network, pictures = Network(tiny_model("residual"), SHAPE), images(3)
    target = torch.tensor([[0], [1], [2]])

    def generators(numbers):
        return [torch.Generator().manual_seed(number) for number in numbers]

    whole = shapley(network, "bn2", pictures, target, generator=generators([0, 1, 2]), **options)
    alone = shapley(network, "bn2", pictures[1:2], target[1:2], generator=generators([1]), chunk_size=3, **options)
    assert torch.allclose(whole.values[1], alone.values[0], rtol=1e-9)
    assert torch.allclose(whole.standard_error[1], alone.standard_error[0], rtol=1e-7)
    again = shapley(network, "bn2", pictures, target, generator=generators([0, 1, 2]), **options)
    assert torch.equal(whole.values, again.values)
    unseeded = shapley(network, "bn2", pictures, target, **options)
    assert torch.equal(unseeded.values, shapley(network, "bn2", pictures, target, **options).values)


@pytest.mark.parametrize("options", EVERY)
def test_classes_share_their_passes(options):
    module = tiny_model("smooth")
    together = shapley(module, "0", **options)
    for place in range(2):
        alone = shapley(module, "0", target=TARGET[:, place : place + 1], **options)
        if options["sampler"] == "regression":
            continue  # more classes leave fewer points for their gradients
        assert torch.allclose(together.values[:, place], alone.values[:, 0], rtol=1e-9)
        assert torch.equal(together.n_evaluations, alone.n_evaluations)


@pytest.mark.parametrize("options", EVERY)
def test_precisions_agree(options):
    exact = shapley(tiny_model("residual"), "bn2", **options)
    single = shapley(tiny_model("residual", torch.float32), "bn2", images(2, torch.float32), **options)
    assert single.values.dtype == torch.float64
    assert torch.allclose(exact.values, single.values, rtol=1e-3, atol=1e-4 * float(exact.values.abs().max()))


def test_every_traced_network_has_values_at_every_layer():
    for name in (name for name, model in MODELS.items() if model.traced):
        network = Network(tiny_model(name), SHAPE)
        for layer in network.layers:
            found = shapley(network, layer.name, n_samples=32, players=Groups([list(range(layer.shape[0]))]))
            assert float(found.convergence_delta.abs().max()) < 1e-9


@pytest.mark.parametrize("options", EVERY)
def test_the_chunk_halves_until_it_fits(options, monkeypatch):
    expected = shapley(tiny_model("residual"), "bn2", **options)
    run = Tail.run

    def greedy(tail, activation, cached, rows):
        if len(rows) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return run(tail, activation, cached, rows)

    monkeypatch.setattr(Tail, "run", greedy)
    found = shapley(tiny_model("residual"), "bn2", **options)
    assert found.chunk_size <= 3
    assert torch.allclose(found.values, expected.values, rtol=1e-9)


def test_progress_reaches_its_end_and_may_stop_the_work():
    steps = []
    for options in EVERY:
        shapley(tiny_model("plain"), "0", progress=lambda done, total: steps.append((done, total)), **options)
        assert steps[-1][0] == steps[-1][1]
        assert all(done <= total for done, total in steps)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapley(tiny_model("plain"), "0", progress=stop)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sampler": "best"}, InvalidOption, "sampler is 'best', expected one of exact"),
        ({"sampler": "linear"}, InvalidOption, "what follows the layer is not"),
        ({"sampler": "exact", "players": Cells(6, 6)}, InvalidOption, "36 players.*at most 16"),
        ({"sampler": "exact", "n_samples": 50}, InvalidOption, "n_samples and tolerance belong to estimates"),
        ({"sampler": "permutations", "n_samples": 7}, InvalidOption, "n_samples is 7.*4 players takes 8"),
        ({"sampler": "regression", "n_samples": 7}, InvalidOption, "n_samples is 7, a regression takes 16"),
        ({"sampler": "regression", "n_samples": 0}, InvalidOption, "n_samples is 0"),
        ({"tolerance": float("nan")}, InvalidOption, "tolerance is nan"),
        ({"excluded": "zero"}, InvalidOption, "excluded is 'zero', expected one of mean, average"),
        ({"generator": [torch.Generator()]}, InvalidInput, "1 generators for 2 images"),
        ({"background": BACKGROUND[:, :1]}, InvalidInput, r"background has shape \(3, 1, 6, 6\)"),
        ({"background": BACKGROUND[:0]}, InvalidInput, "background has shape"),
        ({"target": torch.tensor([[0], [3]])}, InvalidTarget, "target contains 3"),
        ({"target": torch.tensor([0])}, InvalidTarget, "batch of 2"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        shapley(tiny_model("plain"), "0", **options)


def test_unknown_layers_and_networks_without_a_graph_are_refused():
    with pytest.raises(InvalidOption, match="layer is 'missing', expected one of input, 0, 1"):
        shapley(tiny_model("plain"), "missing")
    with pytest.raises(NetworkError, match="graph"):
        shapley(tiny_model("untraceable"), "conv")
