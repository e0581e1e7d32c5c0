import dataclasses
import json

import numpy as np
import pytest
import torch
from tests.sw.small import striped_dataset
from typer.testing import CliRunner

from crisp import train as module
from crisp.cli import app
from crisp.models import ARCHITECTURES, ModelSpec, load_checkpoint
from crisp.train import TrainError, TrainOptions, fitting_batch, train

OPTIONS = TrainOptions(epochs=2, batch=20, learning_rate=0.05, seed=3)


def weights(path):
    return load_checkpoint(path)[0].state_dict()


def stop_in_the_second_epoch(stage, done, total, note):
    if stage == "epoch 2/2" and done == 3:
        raise KeyboardInterrupt


def test_training_learns_and_says_what_it_did(tmp_path):
    data, seen = striped_dataset(), []
    metadata = train(data, tmp_path / "a.safetensors", OPTIONS, progress=lambda *step: seen.append(step))
    assert metadata == load_checkpoint(tmp_path / "a.safetensors")[1]
    assert json.loads(metadata["options"]) == dataclasses.asdict(OPTIONS)
    assert (metadata["epochs"], metadata["seed"], metadata["data"]) == ("2", "3", "stripes, 220 training images")
    assert float(metadata["test_accuracy"]) > 0.5
    assert [step[:3] for step in seen] == [(f"epoch {epoch}/2", step, 11) for epoch in (1, 2) for step in range(1, 12)]


@pytest.mark.parametrize("architecture", ["resnet20", "mobilenetv2"])  # without and with dropout
def test_interrupted_run_ends_with_the_same_bits(tmp_path, architecture):
    data, state = striped_dataset(side=16), tmp_path / "state.pt"
    options = dataclasses.replace(OPTIONS, architecture=architecture, width=0.25)
    train(data, tmp_path / "whole.safetensors", options)

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "a.safetensors", options, state=state, progress=stop_in_the_second_epoch)
    assert state.is_file()
    first = []
    train(data, tmp_path / "a.safetensors", options, state=state, progress=lambda *step: first.append(step[0]))
    assert first[0] == "epoch 2/2"
    assert not state.exists()
    whole, resumed = weights(tmp_path / "whole.safetensors"), weights(tmp_path / "a.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_state_of_another_run_is_refused(tmp_path):
    data, state = striped_dataset(), tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "a.safetensors", OPTIONS, state=state, progress=stop_in_the_second_epoch)
    with pytest.raises(TrainError, match=r"must belong to the run .*, not .*; delete it or name another"):
        train(data, tmp_path / "a.safetensors", dataclasses.replace(OPTIONS, seed=4), state=state)
    with pytest.raises(TrainError, match=r"must belong to the run .*, not .*; delete it or name another"):
        train(striped_dataset(side=16), tmp_path / "a.safetensors", OPTIONS, state=state)
    changed = striped_dataset()
    changed.train.images[7, 3, 4] += 1
    with pytest.raises(TrainError, match=r"must belong to the run .*, not .*; delete it or name another"):
        train(changed, tmp_path / "a.safetensors", OPTIONS, state=state)
    state.write_bytes(b"no state")
    with pytest.raises(TrainError, match="must be the state of a training run, not something damaged"):
        train(data, tmp_path / "a.safetensors", OPTIONS, state=state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"architecture": "vgg"}, f"architecture must be one of {', '.join(ARCHITECTURES)}, not 'vgg'"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"limit": -1}, "limit must be 0 for all images, or their number, not -1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(TrainError) as caught:
        TrainOptions(**options)
    assert str(caught.value) == message


def test_more_images_a_batch_than_there_are(tmp_path):
    with pytest.raises(TrainError, match="batch must be at most the 8 training images, not 20; choose a smaller one"):
        train(striped_dataset(), tmp_path / "a.safetensors", dataclasses.replace(OPTIONS, limit=8))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_short_training_has_a_schedule(steps):
    run = module.start_run(dataclasses.replace(OPTIONS, epochs=1), ModelSpec("resnet20", 4), steps)
    rates = []
    for _ in range(steps):
        rates.append(run.schedule.get_last_lr()[0])
        run.optimizer.step()
        run.schedule.step()
    assert all(0 < rate <= OPTIONS.learning_rate for rate in rates)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_nothing_to_judge_by_is_told_before_training(tmp_path, part):
    data = striped_dataset()
    data = dataclasses.replace(data, **{part: data.test.take(slice(0))})
    with pytest.raises(TrainError, match=f"stripes: there must be {part} images to judge by, but there are none; add some"):
        train(data, tmp_path / "a.safetensors", OPTIONS, progress=lambda *step: pytest.fail("trained"))


@pytest.mark.parametrize(("images", "batch"), [(1, 2), (2, 2), (92, 11), (1023, 127), (1024, 128), (55_000, 128)])
def test_few_images_make_small_batches(images, batch):
    assert fitting_batch(images) == batch


@pytest.mark.parametrize(("options", "batch", "said"), [([], 11, ""), (["--batch", "40"], 40, " --batch 40")])
def test_command_trains_on_few_images(tmp_path, monkeypatch, options, batch, said):
    monkeypatch.setattr("crisp.data.load_dataset", lambda *arguments, **options: striped_dataset(100, side=8))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", "--output", "a.safetensors", "--epochs", "1", *options], catch_exceptions=False)
    assert result.exit_code == 0
    metadata = load_checkpoint(tmp_path / "a.safetensors")[1]
    assert json.loads(metadata["options"])["batch"] == batch
    assert metadata["command"] == f"crisp train --epochs 1 --seed 1{said}"


def test_network_fits_the_images(tmp_path):
    grey = striped_dataset(side=28)
    images = [np.repeat(part.images[..., None], 3, axis=3) for part in (grey.train, grey.test)]
    train_split, test_split = (dataclasses.replace(part, images=x) for part, x in zip((grey.train, grey.test), images, strict=True))
    data = dataclasses.replace(grey, train=train_split, test=test_split)
    options = dataclasses.replace(OPTIONS, epochs=1, architecture="vgg16-bn", width=0.125, limit=40)
    metadata = train(data, tmp_path / "a.safetensors", options)
    assert {name: metadata[name] for name in ("architecture", "input_size", "in_channels", "width")} == {
        "architecture": "vgg16-bn",
        "input_size": "28",
        "in_channels": "3",
        "width": "0.125",
    }
    assert load_checkpoint(tmp_path / "a.safetensors")[0].features[0].weight.shape == (8, 3, 3, 3)


def test_images_that_are_not_square(tmp_path):
    data = striped_dataset()
    narrow = dataclasses.replace(data, train=dataclasses.replace(data.train, images=data.train.images[:, :, 1:]))
    with pytest.raises(TrainError, match="images must be square, not 12 x 11; crop or pad them"):
        train(narrow, tmp_path / "a.safetensors", OPTIONS)
