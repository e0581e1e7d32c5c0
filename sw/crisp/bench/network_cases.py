"""What is measured of whole networks: which network on which machine, how dense, and how many images at a time."""

import dataclasses
import itertools
from collections.abc import Sequence

from crisp.arch import Config
from crisp.networks import NETWORKS, NetworkError, Sparsity

from .errors import BenchError

__all__ = ["Case", "select_cases"]

#: Networks that are measured, those that take longest first: two run at a time.
MEASURED = ("vgg16-224", "resnet50-224", "efficientnet-lite0-224", "mobilenetv2-224", "resnet50-32", "resnet20-fashion")

#: Densities of the pruned layers; of 1 none is pruned.
DENSITIES = (1.0, 0.1, 0.08)

#: Sparsest pattern, only where layers are large.
SPARSEST = 0.07

#: What is measured where nothing is named: networks, preset, densities, images of a program.
SHOWN: tuple[tuple[Sequence[str], str, Sequence[float], int], ...] = (
    (MEASURED, "default", DENSITIES, 1),
    (("resnet50-224", "resnet50-32"), "default", (SPARSEST,), 1),
    (("vgg16-224", "resnet50-224"), "default", (0.1,), 4),
    (MEASURED, "edge", (1.0, 0.1), 1),
    (("resnet50-224",), "edge", (0.08, SPARSEST), 1),
    (("resnet50-224",), "duo", (1.0, 0.1), 1),
    (("resnet50-224",), "quad", (1.0, 0.1), 1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What one record is about.

    Parameters
    ----------
    network : str
        One of `crisp.networks.NETWORKS`.
    config : str
        Preset of the machine.
    density : float
        Share of the weights of pruned layers that stays; 1 prunes none.
    batch : int
        Images that the program computes.
    """

    network: str
    config: str = "default"
    density: float = 1.0
    batch: int = 1

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise NetworkError(f"network must be one of {', '.join(NETWORKS)}, not {self.network!r}")
        Config.preset(self.config)  # checks the name
        if self.batch < 1:
            raise BenchError(f"batch must be at least 1 image, not {self.batch}")
        if self.density != 1:
            Sparsity(density=self.density)

    @property
    def sparsity(self) -> Sparsity | None:
        """The pattern, none where the network stays dense."""
        return None if self.density == 1 else Sparsity(density=self.density)

    @property
    def pattern(self) -> str:
        """The pattern in a few characters."""
        sparsity = self.sparsity
        return "dense" if sparsity is None else f"{sparsity.n}:{sparsity.group}"

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells it from all others."""
        return self.network, self.config, self.batch, self.density

    def __str__(self) -> str:
        images = "" if self.batch == 1 else f", {self.batch} images"
        return f"{self.network}, {self.config}, {'dense' if self.density == 1 else f'{self.pattern} {self.density:.0%}'}{images}"


def select_cases(
    networks: Sequence[str] = (), configs: Sequence[str] = (), densities: Sequence[float] = (), batches: Sequence[int] = ()
) -> list[Case]:
    """Return what is to be measured, what takes longest first.

    Parameters
    ----------
    networks, configs : sequence of str
        Only these; empty takes those that are shown.
    densities : sequence of float
        Likewise.
    batches : sequence of int
        Images of each program, likewise. Where networks and configs are both named, all are measured on all, shown or not.

    Raises
    ------
    BenchError, NetworkError, ConfigError
        When there is no such network, preset, pattern or batch.
    """
    if networks and configs:
        chosen = [
            Case(network=network, config=config, density=density, batch=batch)
            for network in networks
            for config in configs
            for density in densities or DENSITIES
            for batch in batches or (1,)
        ]
    else:
        # Each name is checked, also where it is in no case that is shown.
        for network, config, density, batch in itertools.zip_longest(networks, configs, densities, batches):
            Case(
                network=MEASURED[0] if network is None else network,
                config="default" if config is None else config,
                density=1.0 if density is None else density,
                batch=1 if batch is None else batch,
            )
        shown = (
            Case(network=network, config=config, density=density, batch=batch)
            for some, config, values, batch in SHOWN
            for network in some
            for density in values
        )
        chosen = [
            case
            for case in shown
            if case.network in (networks or [case.network])
            and case.config in (configs or [case.config])
            and case.density in (densities or [case.density])
            and case.batch in (batches or [case.batch])
        ]
    order = list(dict.fromkeys((*MEASURED, *NETWORKS)))
    return sorted(chosen, key=lambda case: (-case.density, order.index(case.network)))
