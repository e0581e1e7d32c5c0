import numpy as np
import pytest
import torch
from tests.sw.small import small_net, striped_split
from torch import nn
from torch.nn import functional

from crisp.data import Split, normalize
from crisp.prune import Saliency
from crisp.prune.saliency import measure_saliency
from crisp.prune.ste import hide


def gradients(model, layer, batches):
    """Differentiate with a fresh graph for each batch, by hand."""
    found = []
    for batch in batches:
        model.zero_grad()
        functional.cross_entropy(model(torch.from_numpy(normalize(batch.images))), torch.from_numpy(batch.labels)).backward()
        found.append(layer.weight.grad.double().numpy().copy())
    model.zero_grad()
    return np.stack(found)


@pytest.fixture
def batches():
    return list(striped_split(24, 4, 12, seed=0).batches(8))


def test_formulas(batches):
    model = small_net()
    layers = {"conv2": model.conv2, "fc": model.fc}
    for name, layer in layers.items():
        weight, each = layer.weight.detach().abs().double().numpy(), gradients(model, layer, batches)
        expected = {
            Saliency.MAGNITUDE: weight,
            Saliency.TAYLOR: weight * np.abs(each.mean(axis=0)),
            Saliency.ABSOLUTE: weight * np.abs(each).mean(axis=0),
            Saliency.FISHER: weight**2 * (each**2).mean(axis=0),
        }
        for kind, value in expected.items():
            assert np.allclose(measure_saliency(model, layers, batches, kind)[name], value, rtol=1e-4, atol=1e-9), kind


def test_activation_saliency_is_the_energy_that_the_output_loses(batches):
    """Without one of its inputs, the square of an output changes by the saliency of the weight between them, on average."""
    model = small_net().eval()
    layers = {"conv3": model.conv3, "fc": model.fc}
    inputs: dict[str, list[torch.Tensor]] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, given, name=name: inputs.setdefault(name, []).append(given[0]))
    found = measure_saliency(model, layers, batches, Saliency.ACTIVATION)
    seen = {name: torch.cat(given) for name, given in inputs.items()}
    for channel in (0, 3, 7):
        without = seen["fc"].clone()
        without[:, channel] = 0
        lost = (model.fc(seen["fc"]) - model.fc(without)).square().mean(dim=0)
        assert np.allclose(found["fc"][:, channel], lost.detach().numpy(), rtol=1e-3, atol=1e-9)
    energy = seen["conv3"].square().mean(dim=(0, 2, 3))
    expected = model.conv3.weight.detach().square() * energy[None, :, None, None]
    assert np.allclose(found["conv3"], expected.numpy(), rtol=1e-4)


def test_floor_of_the_gradient(batches):
    model = small_net()
    gradient = np.abs(gradients(model, model.conv2, batches)).mean(axis=0)
    found = measure_saliency(model, {"conv2": model.conv2}, batches, Saliency.ABSOLUTE, floor=0.8)["conv2"]
    expected = np.abs(model.conv2.weight.detach().double().numpy()) * np.maximum(gradient, 0.8 * gradient.mean())
    assert np.allclose(found, expected, rtol=1e-4)


def test_hidden_weights_have_a_saliency(batches):
    model = small_net()
    hide(model.conv2, torch.zeros_like(model.conv2.weight), decay=0.0)
    assert (measure_saliency(model, {"conv2": model.conv2}, batches, Saliency.ABSOLUTE)["conv2"] > 0).mean() > 0.25


@pytest.mark.parametrize("kind", [Saliency.TAYLOR, Saliency.ABSOLUTE, Saliency.FISHER])
def test_decay_of_hidden_weights_is_no_part_of_it(batches, kind):
    model = small_net()
    mask = (torch.arange(model.conv2.weight.numel()) % 3 > 0).float().view_as(model.conv2.weight)
    found = []
    for decay in (0.0, 1.0):
        hide(model.conv2, mask, decay)
        found.append(measure_saliency(model, {"conv2": model.conv2}, batches, kind)["conv2"])
    assert np.array_equal(*found)
    assert model.conv2.parametrizations.weight[0].decay == 1.0


def test_floor_of_fisher_is_of_the_root_mean_square(batches):
    model = small_net()
    squares = (gradients(model, model.conv2, batches) ** 2).mean(axis=0)
    found = measure_saliency(model, {"conv2": model.conv2}, batches, Saliency.FISHER, floor=3.0)["conv2"]
    expected = model.conv2.weight.detach().double().numpy() ** 2 * np.maximum(squares, 9.0 * squares.mean())
    assert np.allclose(found, expected, rtol=1e-4)


def test_statistics_of_batch_norm_and_gradients_stay(batches):
    model = small_net().train()
    before = model.bn1.running_mean.clone()
    measure_saliency(model, {"conv2": model.conv2}, batches, Saliency.ABSOLUTE)
    assert torch.equal(model.bn1.running_mean, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_of_what_the_user_never_sees_do_not_count():
    """Two linear features, of which the user's images show one."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.ones_(model[1].weight)
    images = np.zeros((4, 1, 2), np.uint8)
    images[:, 0, 1] = 73  # normalised to exactly 0: never active
    found = measure_saliency(model, {"1": model[1]}, [Split(images, np.array([0, 0, 0, 1]))], Saliency.ABSOLUTE)["1"]
    assert (found[:, 0] > 0).all()
    assert (found[:, 1] == 0).all()
