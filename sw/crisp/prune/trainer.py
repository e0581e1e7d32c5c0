"""Training between and after the choices of masks.

Stochastic gradient descent with Nesterov momentum. The learning rate rises over the first few steps, is constant while masks may change,
and falls by a half cosine after the last choice. The loss is cross entropy; a teacher's answers may be learnt as well (G. Hinton et al.,
"Distilling the Knowledge in a Neural Network", arXiv 1503.02531): with student's logits z, teacher's v, share a and temperature T,

    (1 - a) CE(z, label) + a T^2 KL(softmax(v / T) || softmax(z / T)).

A step's batch may be cut into micro-batches, which several processes share. Gradients are averaged over them, and so are the statistics of
batch norms: each micro-batch starts from the same ones. What is random follows from seed and step alone: see `crisp.prune.steps`.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from crisp.progress import Report

from .errors import PruneError
from .options import Precision, PruneOptions
from .processes import PairwiseSum, Processes
from .steps import Draw, Steps, random_for

__all__ = ["Trainer", "choose_device"]

#: Steps between looks at the loss: on a graphics card a look waits for all that was asked of it.
LOOK_STEPS = 10


def choose_device(name: str) -> torch.device:
    """Return the device that ``name`` means: ``auto`` is a graphics card where there is one, each process's own.

    Raises
    ------
    PruneError
        When there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PruneError(f"device must be auto, cpu or cuda, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise PruneError(f"device must be auto, cpu or cuda, not {name!r}")
    if device.type == "cuda":
        name = name if ":" in name else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        if name not in cards:
            remedy = "and no more processes than cards" if cards else "or install torch for CUDA"
            raise PruneError(
                f"device must be one that torch finds, {', '.join(['cpu', *cards])}, not {name!r}; choose one of those, {remedy}"
            )
        device = torch.device(name)
        torch.cuda.set_device(device)
    return device


class Trainer:
    """Trains a network on the user's classes.

    Parameters
    ----------
    model : Module
        Network to train, on its device; masks may come before its weights later.
    steps : Steps
        Images of the user's classes.
    options : PruneOptions
        Settings.
    teacher : Module, optional
        Network with the same outputs, whose answers are learnt too where the options say so; it is left as it is.
    processes : Processes
        Who shares the work.

    Attributes
    ----------
    step : int
        Steps done.
    """

    def __init__(
        self, model: nn.Module, steps: Steps, options: PruneOptions, teacher: nn.Module | None = None, processes: Processes | None = None
    ) -> None:
        self.model, self.steps, self.options = model, steps, options
        self.teacher = teacher.eval() if teacher is not None and options.distillation > 0 else None
        self.device = next(model.parameters()).device
        self.processes = processes or Processes(device=self.device)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=options.learning_rate,
            momentum=options.momentum,
            nesterov=options.momentum > 0,
            weight_decay=options.weight_decay,
            fused=True,
        )
        norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.running_mean is not None]
        self.counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self.statistics = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
        self.step = 0

    def train(
        self, stage: str, first: int, total: int, progress: Report, *, final: bool, after: Callable[[int], None] = lambda done: None
    ) -> None:
        """Train for the steps ``first`` to ``total`` of a stage.

        Parameters
        ----------
        stage : str
            What progress calls it.
        first : int
            Steps of it that are done already.
        total : int
            Steps that it has.
        progress : callable
            Called after every step.
        final : bool
            Whether the learning rate falls to 0.
        after : callable
            Called after every step with how many are done.

        Raises
        ------
        PruneError
            When the loss is no number any more.
        """
        self.model.train()
        note = ""
        with keep_random(self.device):
            for done in range(first, total):
                factor = min(1.0, (self.step + 1) / max(1, self.options.warm_up_steps))
                if final:
                    factor *= (1 + math.cos(math.pi * done / total)) / 2
                for group in self.optimizer.param_groups:
                    group["lr"] = self.options.learning_rate * factor
                loss = self.learn()
                self.step += 1
                if done % LOOK_STEPS == 0 or done == total - 1 or self.device.type == "cpu":
                    value = float(loss)
                    if not math.isfinite(value):
                        raise PruneError(f"the loss must be a number, not {value} after {self.step} steps; lower the learning rate")
                    note = f"loss {value:.3f}"
                progress(stage, done + 1, total, note)
                after(done + 1)

    def learn(self) -> torch.Tensor:
        """Do one step; return the loss on this process's images."""
        parts = self.processes.share(range(self.steps.microbatches))
        if len(parts) == 1 and self.processes.count == 1:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(parts[0])
            loss.backward()
            loss = loss.detach()
        else:
            loss = self.average_gradients(parts)
        self.optimizer.step()
        return loss

    def average_gradients(self, parts: Sequence[int]) -> torch.Tensor:
        """Leave in all parameters the gradient, and in batch norms the statistics, that micro-batches have on average."""
        start = [buffer.clone() for buffer in self.statistics]
        counters = [counter.clone() for counter in self.counters]
        sums, losses = PairwiseSum(), []
        for part in parts:
            for buffer, value in zip((*self.statistics, *self.counters), (*start, *counters), strict=True):
                buffer.copy_(value)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(part)
            loss.backward()
            losses.append(loss.detach())
            found = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self.parameters]
            used = torch.tensor([float(parameter.grad is not None) for parameter in self.parameters], device=self.device)
            sums.add(torch.cat([tensor.reshape(-1) for tensor in (used, *found, *self.statistics)]))
        mean = self.processes.total(sums.total()).div_(self.steps.microbatches)
        place = len(self.parameters)
        for parameter, share in zip(self.parameters, mean[:place].tolist(), strict=True):
            value = mean[place : place + parameter.numel()].view(parameter.shape)
            # In the layout of the parameter, as autograd leaves it; a parameter that nothing uses is not decayed either.
            parameter.grad = torch.empty_like(parameter).copy_(value) if share else None
            place += parameter.numel()
        for buffer in self.statistics:
            buffer.copy_(mean[place : place + buffer.numel()].view(buffer.shape))
            place += buffer.numel()
        return torch.stack(losses).mean()

    def loss(self, part: int) -> torch.Tensor:
        """Return the loss on micro-batch ``part`` of the step."""
        inputs, labels = self.steps.inputs(self.step, part)
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        images = torch.from_numpy(inputs).to(self.device, memory_format=layout)
        target = torch.from_numpy(labels).to(self.device)
        torch.manual_seed(int(random_for(Draw.DROPOUT, self.options.seed, self.step, part).integers(2**63)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision is Precision.BFLOAT16):
            logits = self.model(images)
            with torch.no_grad():
                taught = None if self.teacher is None else self.teacher(images)
        loss = functional.cross_entropy(logits.float(), target)
        if taught is None:
            return loss
        share, temperature = self.options.distillation, self.options.temperature
        told, known = (functional.log_softmax(values.float() / temperature, dim=1) for values in (logits, taught))
        divergence = functional.kl_div(told, known, reduction="batchmean", log_target=True)
        return (1 - share) * loss + share * temperature**2 * divergence


@contextlib.contextmanager
def keep_random(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers as they were found."""
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        yield
