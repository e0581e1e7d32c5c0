import dataclasses
import functools
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY, Matrix, fill, matrices

from crisp.arch import COUNT, ENTRY, PackedWeights, Pattern, PatternError, Sizes, pack, unpack


def raises(message: str):
    """Expect a `PatternError` with exactly this message."""
    return pytest.raises(PatternError, match=f"^{re.escape(message)}$")


def parts(packed: PackedWeights) -> dict:
    """Return all fields in a form that compares."""
    return {
        field.name: value.tolist() if isinstance(value := getattr(packed, field.name), np.ndarray) else value
        for field in dataclasses.fields(packed)
    }


def header(matrix: Matrix) -> tuple:
    """Return what `from_bytes` needs beside the bytes."""
    return matrix.pattern.shape, matrix.pattern.block, matrix.pattern.group, matrix.rows


def steps_one_by_one(weights: np.ndarray, pattern: Pattern, rows: int) -> list[list[tuple[int, int]]]:
    """List the steps as the contract words it: for row tile, kept block, group, slot: (value, offset) of each row."""
    steps = []
    for first in range(0, pattern.shape[0], rows):
        for block, n in enumerate(pattern.n[first // pattern.block]):
            for group in range(block * pattern.block_groups, min((block + 1) * pattern.block_groups, pattern.groups)):
                for slot in range(n):
                    step = []
                    for row in range(first, first + rows):
                        inside = weights[row, group * pattern.group :][: pattern.group] if row < len(weights) else []
                        nonzero = [(int(value), offset) for offset, value in enumerate(inside) if value]
                        if n == pattern.group:
                            step.append((int(inside[slot]) if slot < len(inside) else 0, slot))
                        else:
                            step.append(nonzero[slot] if slot < len(nonzero) else (0, 0))
                    steps.append(step)
    return steps


@PROPERTY
@given(matrices())
def test_packing_loses_nothing(matrix: Matrix) -> None:
    packed = pack(matrix.weights, matrix.pattern, rows=matrix.rows)
    assert unpack(packed).dtype == np.int8
    assert np.array_equal(unpack(packed), matrix.weights)
    assert packed.pattern == matrix.pattern


@PROPERTY
@given(matrices())
def test_bytes_lose_nothing(matrix: Matrix) -> None:
    packed = pack(matrix.weights, matrix.pattern, rows=matrix.rows)
    data = packed.to_bytes()
    assert parts(PackedWeights.from_bytes(data, *header(matrix))) == parts(packed)
    assert 8 * len(data) == packed.sizes.stored_bits


@PROPERTY
@given(matrices())
def test_steps_are_those_of_the_contract_in_its_order(matrix: Matrix) -> None:
    packed = pack(matrix.weights, matrix.pattern, rows=matrix.rows)
    steps = np.stack([packed.values.astype(int), packed.offsets.astype(int)], axis=2)
    assert steps.tolist() == [[list(slot) for slot in step] for step in steps_one_by_one(*matrix)]


@PROPERTY
@given(matrices())
def test_number_of_steps_is_known_from_the_pattern(matrix: Matrix) -> None:
    weights, pattern, rows = matrix
    packed = pack(weights, pattern, rows=rows)
    tiles = [-(-min(pattern.block, pattern.shape[0] - row * pattern.block) // rows) for row in range(pattern.block_rows)]
    assert len(packed.values) == len(packed.offsets) == tiles @ pattern.row_steps
    assert sum(tiles) == packed.row_tiles
    assert packed.block_tiles == pattern.block // rows


@PROPERTY
@given(matrices())
def test_entries_list_the_kept_blocks(matrix: Matrix) -> None:
    pattern = matrix.pattern
    packed = pack(matrix.weights, pattern, rows=matrix.rows)
    entries = iter(packed.entries.tolist())
    for row, count in enumerate(packed.counts.tolist()):
        kept = [ENTRY.unpack(next(entries)) for _ in range(COUNT.unpack(count)["blocks"])]
        assert [entry["index"] for entry in kept] == np.flatnonzero(pattern.n[row]).tolist()
        assert [entry["n_minus_1"] + 1 for entry in kept] == pattern.n[row][pattern.n[row] > 0].tolist()
    assert next(entries, None) is None


def test_offsets_lie_in_the_bytes_as_documented() -> None:
    weights = np.array([[0, 5, -1, 0], [0, 0, 0, 7], [-128, 0, 0, 0], [0, 0, 0, 0]], np.int8)
    packed = pack(weights, Pattern((4, 4), 4, 4, np.array([[2]])), rows=4)
    assert packed.encode_steps().tolist() == [[0b00_00_11_01, 0b00_00_00_10, 0, 0], [5, 7, 0x80, 0], [0xFF, 0, 0, 0]]


def test_dense_blocks_store_no_offsets() -> None:
    weights = np.array([[0, 5, -1, 0], [0, 0, 0, 7], [-128, 0, 0, 0], [0, 0, 0, 0]], np.int8)
    packed = pack(weights, Pattern.dense((4, 4), 4, 4), rows=4)
    assert packed.is_dense
    assert packed.encode_steps().tolist() == weights.T.view(np.uint8).tolist()
    assert packed.offsets.tolist() == [[slot] * 4 for slot in range(4)]
    assert packed.sizes.offset_bits == 0


@pytest.mark.parametrize(("group", "words"), [(2, 8 + 1), (4, 8 + 2), (8, 8 + 4), (16, 8 + 4)])
def test_words_of_offsets(group: int, words: int) -> None:
    packed = pack(np.zeros((2, 8 * group), np.int8), Pattern.from_kept([[1] * 8], (2, 8 * group), group, group, 1), rows=2)
    assert packed.encode_steps().shape == (words, 2)


def test_what_pack_refuses() -> None:
    weights, pattern = np.ones((8, 16), np.int8), Pattern.dense((8, 16), 8, 4)
    with raises("fc: weights must be int8, not float32; quantize before packing"):
        pack(weights.astype(np.float32), pattern, rows=4, layer="fc")
    for rows in (0, 3, 16):
        with raises(f"fc: rows must divide the block, 8, but is {rows}; use a larger block"):
            pack(weights, pattern, rows=rows, layer="fc")
    with raises("fc: row 0, group 0 (K 0..3): rule N:M: 4 non-zero weights, but the block allows 2 of every 4"):
        pack(weights, Pattern.from_kept(pattern.kept, (8, 16), 8, 4, 2), rows=4, layer="fc")


def test_the_widest_matrix_that_an_index_reaches() -> None:
    widest = np.zeros((1, 4096 * 4), np.int8)
    widest[0, -1] = 1
    assert np.array_equal(unpack(pack(widest, Pattern.infer(widest, 4, 4), rows=1)), widest)
    wider = np.zeros((1, 4096 * 4 + 1), np.int8)
    with raises("fc: K must not exceed 16384 at B = 4, not 16385; use a larger block"):
        pack(wider, Pattern.infer(wider, 4, 4), rows=1, layer="fc")


class TestBytesThatPackDoesNotWrite:
    """Each test changes one thing in the bytes of a packed layer."""

    #: 16 x 18 in blocks of 8: two block rows; the third block column has one group, half of it padding.
    PATTERN = Pattern((13, 18), 8, 4, np.array([[2, 0, 2], [0, 3, 1]]))
    #: counts 2 x 2 bytes, entries 4 x 2 bytes
    STEPS = 12

    def packed(self) -> PackedWeights:
        """Pack weights that use every slot."""
        return pack(fill(np.random.default_rng(1), self.PATTERN), self.PATTERN, rows=4)

    def read(self, data: bytes, *, rows: int = 4, group: int = 4) -> PackedWeights:
        """Read the bytes back."""
        return PackedWeights.from_bytes(data, (13, 18), 8, group, rows, layer="fc")

    def changed(self, **arrays) -> bytes:
        """Return the bytes with other counts or entries."""
        return dataclasses.replace(self.packed(), **{name: np.array(array, np.uint16) for name, array in arrays.items()}).to_bytes()

    def entries(self, *blocks: tuple[int, int]) -> np.ndarray:
        """Return entries, each an index and an N."""
        return ENTRY.pack_array(index=[index for index, _ in blocks], n_minus_1=[n - 1 for _, n in blocks])

    def test_unchanged_bytes_are_read(self) -> None:
        assert parts(self.read(self.packed().to_bytes())) == parts(self.packed())

    def test_lengths(self) -> None:
        data = self.packed().to_bytes()
        steps = len(self.packed().values)
        with raises("fc: packed weights must hold 4 bytes of counts, not 3 bytes in all"):
            self.read(data[:3])
        with raises("fc: packed weights must hold 12 bytes of counts and entries, not 11 bytes in all"):
            self.read(data[:11])
        with raises(f"fc: steps must fill whole 4-byte words, not {len(data) - self.STEPS + 1} bytes"):
            self.read(data + b"\0")
        for change, more in ((data[:-4], -1), (data + bytes(4), 1)):
            with raises(f"fc: counts and entries ask for {steps} steps, not {steps + more}"):
                self.read(change)
        assert steps % 4 == 2
        with raises("fc: the last word of offsets must stand before a step"):
            self.read(data[:-8])

    def test_rows(self) -> None:
        for rows in (0, 3, 16):
            with raises(f"fc: rows must divide the block, 8, but is {rows}"):
                self.read(self.packed().to_bytes(), rows=rows)

    def test_shape(self) -> None:
        with raises("fc: group must be a power of two, not 5"):
            self.read(self.packed().to_bytes(), group=5)

    def test_indices(self) -> None:
        message = "fc: block row {}: indices must ascend and be less than 3, not {}"
        with raises(message.format(1, [2, 1])):
            self.read(self.changed(entries=self.entries((0, 2), (2, 2), (2, 1), (1, 3))))
        with raises(message.format(0, [2, 2])):
            self.read(self.changed(entries=self.entries((2, 2), (2, 2), (1, 3), (2, 1))))
        with raises(message.format(1, [1, 3])):
            self.read(self.changed(entries=self.entries((0, 2), (2, 2), (1, 3), (3, 1))))

    def test_n_beyond_m(self) -> None:
        with raises("fc: n must be 0 to M = 4, not 5 in block (1, 2)"):
            self.read(self.changed(entries=self.entries((0, 2), (2, 2), (1, 3), (2, 5))))

    def test_reserved_bits_of_a_count(self) -> None:
        with raises("fc: count: reserved bits from bit 13 on must be zero, but the word is 0x8002"):
            self.read(self.changed(counts=[2, 0x8002]))

    def test_block_rows_that_differ(self) -> None:
        with raises("fc: rule kept: block row 0 keeps no block; keep at least one in every block row"):
            self.read(self.changed(counts=[0, 3], entries=self.entries((0, 2), (1, 3), (2, 1))))
        message = "fc: rule uniform: N adds up to 4 in block row 1 but to 3 in block row 0; prune equally many in every block row"
        with raises(message):
            self.read(self.changed(entries=self.entries((0, 2), (2, 1), (1, 3), (2, 1))))

    def test_counts_that_do_not_fit_the_entries(self) -> None:
        packed = self.packed()
        with raises("counts must be 2 that add up to 4 entries, not 2 that add up to 5"):
            _ = dataclasses.replace(packed, counts=np.array([3, 2], np.uint16)).pattern
        with raises("counts must be 2 that add up to 4 entries, not 1 that add up to 4"):
            _ = dataclasses.replace(packed, counts=np.array([4], np.uint16)).pattern

    @pytest.mark.parametrize(
        ("step", "lane", "value", "offset", "row", "group"),
        [
            (0, 0, 0, 0, 0, 0),  # a zero before a weight
            (2, 2, 7, 3, 2, 1),  # offsets that descend
            (4, 1, 7, 2, 1, 4),  # a weight in the padding of K: block 2 has two entries of K only
            (25, 3, 7, 0, 15, 4),  # a weight in the padding of O
            (25, 3, 0, 1, 15, 4),  # the offset of an unused slot
        ],
    )
    def test_steps_out_of_form(self, step: int, lane: int, value: int, offset: int, row: int, group: int) -> None:
        packed = self.packed()
        packed.values[step, lane], packed.offsets[step, lane] = value, offset
        with raises(
            f"fc: row {row}, group {group}: rule packed: step {step} holds value {value} and offset {offset}; the non-zeros of a group "
            f"stand first with ascending offsets, then zeros with offset 0, as in padding; but where N = M slot j has offset j"
        ):
            self.read(packed.to_bytes())

    def test_two_weights_in_one_place(self) -> None:
        packed = self.packed()
        packed.offsets[1, 2] = packed.offsets[0, 2]
        with pytest.raises(PatternError, match=r"^fc: row 2, group 0: rule packed: "):
            self.read(packed.to_bytes())

    def test_bits_that_no_offset_has(self) -> None:
        data = bytearray(self.packed().to_bytes())
        last = 4 * (len(self.packed().encode_steps()) - 3)  # a word of four steps' offsets stands before two
        data[self.STEPS + last + 2] |= 1
        with raises(f"fc: word {last // 4} of the steps: bits that no offset has must be zero"):
            self.read(data)
        pattern = Pattern.from_kept([[1]], (2, 8), 8, 8, 3)
        data = bytearray(pack(np.zeros((2, 8), np.int8), pattern, rows=2).to_bytes())
        data[2 + 2] |= 0x08  # offsets of 3 bits take 4
        with raises("layer: word 0 of the steps: bits that no offset has must be zero"):
            PackedWeights.from_bytes(bytes(data), (2, 8), 8, 8, 2)

    def test_dense_steps_out_of_form(self) -> None:
        pattern = Pattern((4, 16), 8, 4, np.array([[4, 1]]))
        weights = np.tile(np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0], np.int8), (4, 1))
        packed = pack(weights, pattern, rows=4)
        packed.offsets[1, 0] = 2
        with pytest.raises(PatternError, match=r"^fc: row 0, group 0: rule packed: step 1 holds value 1 and offset 2; "):
            PackedWeights.from_bytes(packed.to_bytes(), (4, 16), 8, 4, 4, layer="fc")


@PROPERTY
@given(matrices(group=4), st.data())
def test_bytes_that_are_accepted_are_written_again_alike(matrix: Matrix, data: st.DataObject) -> None:
    packed = bytearray(pack(matrix.weights, matrix.pattern, rows=matrix.rows).to_bytes())
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = PackedWeights.from_bytes(bytes(packed), *header(matrix))
    except PatternError:
        return
    assert read.to_bytes() == packed


def test_bits_by_kind() -> None:
    one_n = pack(np.zeros((20, 64), np.int8), Pattern.from_kept([[1, 0, 1, 0], [0, 1, 0, 1]], (20, 64), 16, 4, 1), rows=16)
    # 4 kept blocks of 4 groups, 16 rows each: 256 slots; 2 bits say which of 4 block columns.
    stored = 2 * 16 + 4 * 16 + 16 * (16 * 8 + 32)
    assert one_n.sizes == Sizes(slots=256, value_bits=2048, offset_bits=512, index_bits=8, stored_bits=stored)
    assert one_n.sizes.metadata_bits_per_nonzero == (512 + 8) / 256
    mixed = pack(np.zeros((20, 64), np.int8), Pattern((20, 64), 16, 4, np.array([[2, 0, 1, 0], [0, 0, 0, 3]])), rows=16)
    assert mixed.sizes.index_bits == 3 * (2 + 2)  # each block says its N as well


def resnet50() -> dict[tuple[int, int], int]:
    """Return the matrices of ResNet-50, (cout, kh * kw * cin), and how often each occurs.

    Source: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; stride in the 3x3 convolution.
    """
    layers, inputs = [(64, 7 * 7 * 3)], 64
    for width, units in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for unit in range(units):
            layers += [(width, inputs), (width, 9 * width), (4 * width, width)]
            layers += [(4 * width, inputs)] if unit == 0 else []
            inputs = 4 * width
    layers += [(1000, 2048)]
    return {shape: layers.count(shape) for shape in layers}


class TestMetadataOfResNet50:
    """Bits of metadata at 10% density, B = 16, M = 4, one N a layer, against formats that know no structure.

    Ours: offsets, and the least bits of the block indices. CSR: the least bits of a column index for each non-zero and of a pointer for
    each row. ELLPACK: the least bits of a column index for each place of a row, all rows as long as the longest.
    """

    @staticmethod
    @functools.cache
    def measure(shape: tuple[int, int], n: int) -> dict[str, int]:
        """Prune random weights to the share of blocks that gives 10%, and count bits."""
        rng = np.random.default_rng(shape)
        blocks = (-(-shape[0] // 16), -(-shape[1] // 16))
        kept = rng.random(blocks).argsort(axis=1) < max(1, round(0.1 * 4 / n * blocks[1]))
        pattern = Pattern.from_kept(kept, shape, 16, 4, n)
        weights = fill(rng, pattern)
        sizes = pack(weights, pattern, rows=16).sizes
        row_lengths = np.count_nonzero(weights, axis=1)
        nonzeros, column_bits = int(row_lengths.sum()), (shape[1] - 1).bit_length()
        return {
            "nonzeros": nonzeros,
            "ours": sizes.offset_bits + sizes.index_bits,
            "stored": sizes.stored_bits - sizes.value_bits,
            "slots": sizes.slots,
            "csr": nonzeros * column_bits + (shape[0] + 1) * nonzeros.bit_length(),
            "ellpack": shape[0] * int(row_lengths.max()) * column_bits,
        }

    def total(self, kind: str, n: int) -> int:
        """Add up over all layers of the network."""
        return sum(self.measure(shape, n)[kind] * times for shape, times in resnet50().items())

    def test_it_is_resnet50(self) -> None:
        assert sum(resnet50().values()) == 54
        assert sum(outputs * inputs * times for (outputs, inputs), times in resnet50().items()) == 25_502_912

    @pytest.mark.parametrize("n", [1, 2])
    def test_bits_a_nonzero(self, n: int) -> None:
        for shape in resnet50():
            bits = self.measure(shape, n)
            assert 0.09 < bits["nonzeros"] / (shape[0] * shape[1]) < 0.13
            assert bits["ours"] / bits["nonzeros"] <= 2.15, shape
            # In memory an entry takes 16 bits, whatever the layer needs.
            assert bits["stored"] / bits["slots"] <= 2.43, shape

    def test_times_less_than_unstructured_formats(self) -> None:
        """The gain is about log2 K / 2: it grows with K, and a narrow layer gains less than the network as a whole."""
        for n, shape in itertools.product((1, 2), resnet50()):
            bits = self.measure(shape, n)
            times = (bits["csr"] / bits["ours"], bits["ellpack"] / bits["ours"])
            assert all(4.3 < ratio < 6.5 for ratio in times) if shape[1] >= 512 else all(2.9 < ratio < 4.4 for ratio in times), shape

    def test_contract_page_shows_these_figures(self) -> None:
        def bits(n: int) -> str:
            layers = {shape: self.measure(shape, n) for shape in resnet50()}
            worst = max(layer["ours"] / layer["nonzeros"] for layer in layers.values())
            return f"{self.total('ours', n) / self.total('nonzeros', n):.2f} ({worst:.2f})"

        def whole(kind: str, n: int) -> str:
            return f"{self.total(kind, n) / self.total('ours', n):.1f}"

        def single(kind: str, wide: bool, n: int) -> str:
            layers = [self.measure(shape, n) for shape in resnet50() if (shape[1] >= 512) == wide]
            times = [layer[kind] / layer["ours"] for layer in layers]
            return f"{min(times):.1f} to {max(times):.1f}"

        lines = {
            "bits a non-zero, the whole network (the worst layer)": bits,
            "times less than CSR, the whole network": functools.partial(whole, "csr"),
            "times less than ELLPACK, the whole network": functools.partial(whole, "ellpack"),
            "times less than CSR, single layers with K >= 512": functools.partial(single, "csr", True),
            "times less than CSR, single layers with K < 512": functools.partial(single, "csr", False),
            "times less than ELLPACK, single layers with K >= 512": functools.partial(single, "ellpack", True),
            "times less than ELLPACK, single layers with K < 512": functools.partial(single, "ellpack", False),
        }
        page = (Path(__file__).parents[3] / "docs" / "contract.md").read_text(encoding="utf-8").splitlines()
        for name, figure in lines.items():
            assert f"| {name} | {figure(1)} | {figure(2)} |" in page
