import copy
import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from tests.sw.small import SmallNet, small_net, striped_dataset, striped_split
from torch import nn
from torch.nn import functional

from crisp.progress import silent
from crisp.prune import Precision, PruneError, PruneOptions, prune
from crisp.prune.steps import Steps
from crisp.prune.trainer import Trainer, choose_device

OPTIONS = PruneOptions(batch=16, learning_rate=0.05, final_images=64)
IMAGES = striped_split(64, 4, 12, 0)


def make_trainer(options, model=None, teacher=None):
    steps = Steps(IMAGES, options.batch, options.microbatch or options.batch, options.seed)
    return Trainer(model or small_net(), steps, options, teacher)


def train(options, steps=3, model=None, teacher=None, *, final=False):
    trainer = make_trainer(options, model, teacher)
    trainer.train("prune", 0, steps, silent, final=final)
    return trainer


def weights_of(trainer):
    return torch.cat([tensor.double().flatten() for tensor in trainer.model.state_dict().values()])


def test_a_step_is_nesterovs_of_the_mean_gradient():
    """Held against momentum written out: v = m v + g, w -= rate (g + m v), with g of the decayed loss."""
    options = dataclasses.replace(OPTIONS, warm_up_steps=2)
    trainer, twin = train(options), small_net().train()
    velocity = {}
    for step, rate in enumerate((0.025, 0.05, 0.05)):
        inputs, labels = trainer.steps.inputs(step, 0)
        loss = functional.cross_entropy(twin(torch.from_numpy(inputs)), torch.from_numpy(labels))
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for (name, weight), gradient in zip(twin.named_parameters(), gradients, strict=True):
                decayed = gradient + options.weight_decay * weight
                velocity[name] = 0.9 * velocity[name] + decayed if name in velocity else decayed.clone()
                weight -= rate * (decayed + 0.9 * velocity[name])
    for (name, weight), other in zip(trainer.model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(weight, other, rtol=1e-4, atol=1e-6), name


def test_learning_rate_falls_to_nearly_nothing_at_the_end():
    rates = []
    trainer = make_trainer(dataclasses.replace(OPTIONS, warm_up_steps=0))
    trainer.train("prune", 0, 8, lambda *step: rates.append(trainer.optimizer.param_groups[0]["lr"]), final=True)
    assert rates == pytest.approx([0.05 * (1 + np.cos(np.pi * step / 8)) / 2 for step in range(8)])


class Flat(nn.Module):
    """Without a batch norm, whose gradient hangs on the batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, 2)
        self.unused = nn.Linear(3, 3)
        self.fc = nn.Linear(8 * 25, 4)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


@pytest.mark.parametrize("microbatch", [8, 4, 1])
def test_microbatches_have_the_gradient_of_the_batch(microbatch, monkeypatch):
    """But for rounding; without augmentation, whose random numbers are each micro-batch's own."""
    monkeypatch.setattr(Steps, "inputs", lambda self, step, part: (self.draw(step, part).inputs(), self.draw(step, part).labels))
    torch.manual_seed(0)
    model = Flat()
    whole = train(OPTIONS, model=copy.deepcopy(model))
    parts = train(dataclasses.replace(OPTIONS, microbatch=microbatch), model=model)
    assert torch.allclose(weights_of(whole), weights_of(parts), atol=1e-5)


def test_batch_norm_statistics_are_averaged_over_microbatches():
    trainer = make_trainer(dataclasses.replace(OPTIONS, microbatch=4))
    start = copy.deepcopy(trainer.model).train()
    found = []
    for part in range(4):
        twin = copy.deepcopy(start)
        twin(torch.from_numpy(trainer.steps.inputs(0, part)[0]))
        found.append(torch.stack([twin.bn1.running_mean, twin.bn1.running_var]))
    trainer.train("prune", 0, 1, silent, final=False)
    after = torch.stack([trainer.model.bn1.running_mean, trainer.model.bn1.running_var])
    assert torch.allclose(after, torch.stack(found).mean(0), atol=1e-6)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert int(trainer.model.bn1.num_batches_tracked) == 1


def test_distillation_is_hintons_loss():
    torch.manual_seed(3)
    teacher = SmallNet().eval()
    options = dataclasses.replace(OPTIONS, distillation=0.7, temperature=3.0)
    trainer = make_trainer(options, teacher=teacher)
    trainer.model.train()
    got = trainer.loss(0).detach()
    inputs, labels = (torch.from_numpy(array) for array in trainer.steps.inputs(0, 0))
    logits, taught = (network(inputs).detach().double() for network in (small_net().train(), teacher))
    p, q = (torch.softmax(values / 3, dim=1) for values in (taught, logits))
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    assert float(got) == pytest.approx(float(0.3 * functional.cross_entropy(logits, labels) + 0.7 * 9 * divergence), rel=1e-5)


def test_a_pupil_that_answers_as_its_teacher_learns_nothing():
    model = small_net()
    trainer = make_trainer(dataclasses.replace(OPTIONS, distillation=1.0), model, copy.deepcopy(model))
    model.eval()
    trainer.loss(0).backward()
    assert all(parameter.grad is None or parameter.grad.abs().max() < 1e-5 for parameter in model.parameters())


def test_bfloat16_computes_roughly_the_same():
    exact, rough = (train(dataclasses.replace(OPTIONS, precision=precision)) for precision in Precision)
    assert not torch.equal(weights_of(exact), weights_of(rough))
    assert torch.allclose(weights_of(exact), weights_of(rough), atol=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in rough.model.parameters())


def test_layout_changes_no_more_than_rounding():
    first, second = (train(dataclasses.replace(OPTIONS, channels_last=last)) for last in (True, False))
    assert torch.allclose(weights_of(first), weights_of(second), atol=1e-4)


def test_torchs_random_numbers_stay_as_they_were():
    trainer = make_trainer(OPTIONS)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trainer.train("prune", 0, 2, silent, final=False)
    assert torch.equal(torch.rand(1), expected)


def test_a_loss_that_is_no_number_is_told():
    with pytest.raises(PruneError, match=r"the loss must be a number, not (nan|inf) after \d+ steps; lower the learning rate"):
        train(dataclasses.replace(OPTIONS, learning_rate=1e9, warm_up_steps=0), steps=20)


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(PruneError, match="device must be auto, cpu or cuda, not 'abacus'"):
        choose_device("abacus")
    with pytest.raises(PruneError, match="device must be auto, cpu or cuda, not 'meta'"):
        choose_device("meta")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(PruneError) as caught:
            choose_device("cuda")
        assert str(caught.value) == "device must be one that torch finds, cpu, not 'cuda:0'; choose one of those, or install torch for CUDA"


@pytest.fixture
def two_cards(monkeypatch):
    """A machine with two graphics cards; gives the one that was chosen."""
    chosen = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return chosen


@pytest.mark.parametrize(
    ("name", "rank", "device"), [("cuda", None, "cuda:0"), ("auto", "1", "cuda:1"), ("cuda:1", "0", "cuda:1"), ("cpu", "1", "cpu")]
)
def test_each_process_takes_a_graphics_card(two_cards, monkeypatch, name, rank, device):
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device(name) == torch.device(device)
    assert two_cards == ([] if device == "cpu" else [torch.device(device)])


@pytest.mark.parametrize(
    ("name", "rank", "wrong"),
    [("cuda:7", "0", "cuda:7"), ("cuda:256", "0", "cuda:256"), ("cuda", "2", "cuda:2"), ("auto", "2", "cuda:2")],  # 256 is 0 in torch
)
def test_graphics_cards_that_are_not_there(two_cards, monkeypatch, name, rank, wrong):
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(PruneError) as caught:
        choose_device(name)
    assert str(caught.value) == (
        f"device must be one that torch finds, cpu, cuda:0, cuda:1, not {wrong!r}; choose one of those, and no more processes than cards"
    )
    assert two_cards == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_a_graphics_card_prunes_as_well():
    options = dataclasses.replace(OPTIONS, iterations=2, iteration_images=64, saliency_images=32, sparsity=0.8, device="cuda")
    pruned = prune(small_net(), striped_dataset(), (3, 1), options)
    assert pruned.sparsity >= 0.8
    assert next(pruned.model.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"microbatch": 7}, "microbatch must divide batch = 64, or be 0 for all of it, not 7"),
        ({"microbatch": -1}, "microbatch must divide batch = 64, or be 0 for all of it, not -1"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ({"distillation": 1.5}, "distillation must be from 0 to 1, not 1.5"),
        ({"temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"warm_up_steps": -1}, "warm_up_steps must not be negative, not -1"),
        ({"seed": -1}, "seed must not be negative, not -1"),
        ({"learning_rate": math.inf}, "learning_rate must be finite, not inf"),
        ({"weight_decay": math.nan}, "weight_decay must be finite, not nan"),
        ({"ste_decay": math.nan}, "ste_decay must be finite, not nan"),
        ({"gradient_floor": math.nan}, "gradient_floor must be finite, not nan"),
        ({"gradient_floor": math.inf}, "gradient_floor must be finite, not inf"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(PruneError) as caught:
        PruneOptions(**options)
    assert str(caught.value) == message


def test_teachers_with_other_outputs():
    short = dataclasses.replace(OPTIONS, iterations=1, final_images=16, saliency_images=16, sparsity=0.8, distillation=0.5)
    run = functools.partial(prune, small_net(), striped_dataset(), (3, 1), short)
    by_default, by_itself = run(), run(teacher=small_net())
    other, wrong = (SmallNet(num_classes=outputs) for outputs in (2, 3))
    assert torch.equal(by_default.model.conv2.weight, by_itself.model.conv2.weight)
    assert not torch.equal(by_default.model.conv2.weight, run(teacher=other).model.conv2.weight)
    with pytest.raises(PruneError, match="the teacher must have 4 outputs, or the pruned network's 2, not 3; give another"):
        run(teacher=wrong)
