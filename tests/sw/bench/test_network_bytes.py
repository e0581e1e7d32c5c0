"""What counts as compulsory."""

import dataclasses

import numpy as np
from tests.sw.bench.made import convolution_network

from crisp.arch import Config, Pattern
from crisp.bench.network_bytes import compulsory_bytes, least_bytes
from crisp.compile.compile import schedule_network
from crisp.compile.selection import kept_weights
from crisp.golden import Convolution


def test_compulsory_bytes_are_weights_ends_and_what_is_too_large() -> None:
    config = Config.preset("default")
    network = convolution_network(32, 8, 3)
    compilation = schedule_network(network, config, (8, 8, 32))
    assert compulsory_bytes(compilation) == 3 * 32 * 32 + 2 * 8 * 8 * 32
    sparse = schedule_network(convolution_network(32, 8, 3, density=0.25), config, (8, 8, 32))
    # Half of the values of half of the blocks, and for every four values a byte of offsets.
    assert compulsory_bytes(sparse) == 3 * (256 + 64) + 2 * 8 * 8 * 32
    tight = dataclasses.replace(config, activation_buffer_depth=16)  # 1 KiB, a tensor has two
    large = schedule_network(network, tight, (8, 8, 32))
    assert least_bytes(large) == 3 * 32 * 32 + 2 * 8 * 8 * 32
    assert compulsory_bytes(large) == 3 * 32 * 32 + 2 * 8 * 8 * 32 + 2 * 2 * 8 * 8 * 32


def test_what_fills_k_up_is_no_weight() -> None:
    """Nine taps of one channel lie in three words of four: three of four places are all that there are."""
    convolution = Convolution(channels=1, kernel=(3, 3))
    for n, kept in ((4, 9), (3, 9), (2, 6)):
        assert kept_weights(Pattern((5, 12), 16, 4, np.full((1, 1), n, np.uint8)), convolution) == 5 * kept
