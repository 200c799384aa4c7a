import copy

import pytest
import torch
import torchvision
from safetensors.torch import load, save
from torch import nn

import attribution
from attribution import decompose, decomposed_bytes, decomposed_from_bytes, evaluate, influential_features, retrain
from attribution.decomposition.classifiers import head_of
from attribution.errors import Cancelled, InvalidInput, InvalidOption, InvalidTarget, NetworkError
from tests.attribution.decomposition.support import SHAPE, K, batches, data, network


def decomposed():
    return decompose(network(), influential_features(network(), batches(), n_initial=3, n_features=3))


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_the_head_alone_learns_and_the_rest_stays_as_it_was():
    start = decomposed()
    before = state(start)
    found = retrain(start, batches(), epochs=5, validation=batches(seed=3), learning_rate=0.2)
    assert changed(before, start) == set()
    assert changed(before, found.module) == {"6.weight", "6.bias"}
    assert found.losses.shape == (5,)
    assert float(found.losses[-1]) < 0.8 * float(found.losses[0])
    assert float(found.accuracies[-1]) > float(found.accuracies[0])
    assert not any(part.training for part in found.module.modules())
    assert all(parameter.requires_grad for parameter in found.module.parameters())


def test_all_of_it_learns_with_the_batchs_own_statistics():
    start = decomposed()
    before = state(start)
    found = retrain(start, batches(), scope="all", epochs=3)
    assert changed(before, start) == set()
    assert changed(before, found.module) == before.keys() - {"6.indices"}
    assert float(found.losses[-1]) < float(found.losses[0])
    assert int(found.module[1].num_batches_tracked) == 9
    assert found.accuracies is None


def test_one_step_is_the_textbooks():
    start, (images, labels) = decomposed(), data(16)
    found = retrain(start, [(images, labels)], learning_rate=0.3)
    head = head_of(start)
    loss = nn.functional.cross_entropy(start(images), labels)
    weight, bias = torch.autograd.grad(loss, (head.weight, head.bias))
    assert torch.allclose(head_of(found.module).weight, head.weight - 0.3 * weight)
    assert torch.allclose(head_of(found.module).bias, head.bias - 0.3 * bias)
    assert float(found.losses[0]) == pytest.approx(loss.item())


def test_the_losses_are_means_over_images_of_unequal_batches():
    images, labels = data(20)
    found = retrain(decomposed(), list(zip(images.split(16), labels.split(16), strict=True)), learning_rate=1e-12)
    expected = nn.functional.cross_entropy(decomposed()(images), labels)
    assert float(found.losses[0]) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("scope", ["head", "all"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_seed_fixes_it_and_the_callers_random_state_stays(scope, optimiser):
    torch.manual_seed(11)
    expected_next = torch.rand(3)
    options = {"scope": scope, "optimiser": optimiser, "epochs": 2}
    torch.manual_seed(11)
    one = retrain(decomposed(), batches(), seed=1, **options)
    assert torch.equal(torch.rand(3), expected_next)
    two = retrain(decomposed(), batches(), seed=1, **options)
    assert decomposed_bytes(one.module) == decomposed_bytes(two.module)
    assert torch.equal(one.losses, two.losses)
    if scope == "all":
        other = retrain(decomposed(), batches(), seed=2, **options)
        assert decomposed_bytes(other.module) != decomposed_bytes(one.module)


def test_it_goes_on_from_what_was_stored():
    first = retrain(decomposed(), batches(), validation=batches())
    again = decomposed_from_bytes(network(seed=4), decomposed_bytes(first.module))
    second = retrain(again, batches(), validation=batches(), scope="all")
    direct = retrain(first.module, batches(), validation=batches(), scope="all")
    assert float(second.accuracies[0]) == float(first.accuracies[-1])
    assert decomposed_bytes(second.module) == decomposed_bytes(direct.module)


@pytest.mark.parametrize("scope", ["head", "all"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_stopped_after_an_epoch_it_goes_on_as_if_it_had_not(scope, optimiser):
    options = {"scope": scope, "optimiser": optimiser, "epochs": 3, "validation": batches(seed=3), "weight_decay": 0.1}
    states, told = [], []
    whole = retrain(decomposed(), batches(), keep=lambda state: states.append(save(state())), **options)
    assert len(states) == 2
    for number, state in enumerate(states, 1):
        more = {"n_images": 48, "progress": lambda *numbers: told.append(numbers)}
        again = retrain(decomposed(), batches(), start=load(state), **more, **options)
        assert decomposed_bytes(again.module) == decomposed_bytes(whole.module)
        assert torch.equal(again.losses, whole.losses)
        assert torch.equal(again.accuracies, whole.accuracies)
        assert (told[0], told[-1]) == ((48 * number, 144), (144, 144))
        told.clear()


def test_states_of_other_trainings_are_refused():
    states = []
    retrain(decomposed(), batches(), epochs=2, keep=lambda state: states.append(state()))
    [state] = states
    wider = decompose(network(), influential_features(network(), batches(), n_features=5))
    for given, options in (
        (wider, {}),
        (decomposed(), {"scope": "all"}),
        (decomposed(), {"optimiser": "adam"}),
    ):
        with pytest.raises(InvalidInput, match="checkpoint does not fit"):
            retrain(given, batches(), epochs=2, start=state, **options)
    with pytest.raises(InvalidInput, match="checkpoint does not fit this training: 'losses'"):
        retrain(decomposed(), batches(), start={name: state[name] for name in state if name != "losses"})


def test_the_accuracies_are_those_of_the_modules():
    start = decomposed()
    found = retrain(start, batches(), validation=batches(seed=3), learning_rate=0.2)
    for module, accuracy in zip((start, found.module), found.accuracies.tolist(), strict=True):
        assert evaluate(network(), module, batches(seed=3)).accuracy == pytest.approx(accuracy)


def test_batches_may_depend_on_the_epoch():
    asked = []

    def of_epoch(number):
        asked.append(number)
        return batches(seed=number)

    found = retrain(decomposed(), of_epoch, epochs=3)
    assert asked == [0, 1, 2]
    assert not torch.equal(found.losses, retrain(decomposed(), batches(), epochs=3).losses)


def test_places_without_a_feature_stay_without_one():
    indices = torch.tensor([[0, 1], [2, -1], [3, 4], [-1, -1]])
    start = decompose(network(), indices)
    found = retrain(start, batches(), epochs=2, learning_rate=0.5, weight_decay=0.1)
    images, _ = data(5)
    head = head_of(found.module)
    assert bool((head.weight[indices < 0] == 0).all())
    assert torch.allclose(found.module(images)[:, 3], head.bias[3].expand(5))


def test_weight_decay_shrinks():
    small = retrain(decomposed(), batches(), epochs=3, weight_decay=1.0)
    large = retrain(decomposed(), batches(), epochs=3)
    assert head_of(small.module).weight.norm() < head_of(large.module).weight.norm()


def test_auxiliary_classifiers_are_left_out_of_the_loss():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = torchvision.models.googlenet(num_classes=K, init_weights=False, aux_logits=True)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    start = decompose(attribution.Network(built), torch.arange(12).view(K, 3))
    found = retrain(start, [(images, torch.arange(4))], scope="all")
    assert torch.isfinite(found.losses).all()
    assert "aux1.fc2.weight" not in changed(state(start), found.module)


def test_progress_counts_images_of_all_epochs_and_may_cancel():
    told, start = [], decomposed()
    retrain(start, batches(20), epochs=2, n_images=48, progress=lambda *numbers: told.append(numbers))
    assert told == [(20, 96), (40, 96), (48, 96), (68, 96), (88, 96), (96, 96)]
    before = state(start)

    def stop(done, total):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        retrain(start, batches(), progress=stop)
    assert changed(before, start) == set()


def test_images_and_layers_in_place_do_not_meet():
    built = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, K)).double()
    images, labels = data(8)
    kept = images.clone()
    retrain(decompose(attribution.Network(built, SHAPE), torch.arange(8).view(K, 2)), [(images, labels)], scope="all")
    assert torch.equal(images, kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"scope": "body"}, "scope is 'body'"),
        ({"optimiser": "lbfgs"}, "optimiser is 'lbfgs'"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InvalidOption, match=message):
        retrain(decomposed(), batches(), **options)


def test_bad_batches_and_modules_are_refused():
    images, labels = data(8)
    with pytest.raises(InvalidInput, match="batches is empty"):
        retrain(decomposed(), iter(batches()), epochs=2)
    with pytest.raises(InvalidInput, match="validation is empty"):
        retrain(decomposed(), batches(), validation=[])
    with pytest.raises(InvalidTarget, match="0 to 3"):
        retrain(decomposed(), [(images, labels + 1)])
    with pytest.raises(NetworkError, match="use a lower learning_rate"):
        retrain(decomposed(), batches(), epochs=8, learning_rate=1e308)
    with pytest.raises(NetworkError, match="make one with decompose"):
        retrain(copy.deepcopy(network().module), batches())
