"""Payload layouts: the packed words of the contract, and what travels between the blocks of the engine."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from crisp.arch import Word

__all__ = ["block_layout", "group_layout", "step_layout", "weight_layout", "window_layout", "word_layout"]


def word_layout(word: Word) -> data.StructLayout:
    """Lay out a packed word of the contract; bits above the last field become ``reserved``."""
    fields = {field.name: (signed if field.signed else unsigned)(field.width) for field in word.fields}
    used = sum(field.width for field in word.fields)
    if used < word.width:
        fields["reserved"] = unsigned(word.width - used)
    return data.StructLayout(fields)


def offset_shape(group_size: int):
    """Shape of an offset: which of the group's activations a value meets."""
    return unsigned((group_size - 1).bit_length())


def group_layout(group_size: int) -> data.ArrayLayout:
    """Lay out a group: M neighbouring activations of K, one word of the column buffer."""
    return data.ArrayLayout(signed(8), group_size)


def weight_layout(group_size: int) -> data.StructLayout:
    """Lay out what a row of the array receives each cycle. A bubble has value 0, which changes nothing, and no ``last``."""
    return data.StructLayout({"value": signed(8), "offset": offset_shape(group_size), "last": 1})


def step_layout(rows: int, group_size: int) -> data.StructLayout:
    """Lay out a step as it lies in memory: one value and one offset for each row of the array."""
    return data.StructLayout({
        "values": data.ArrayLayout(signed(8), rows),
        "offsets": data.ArrayLayout(offset_shape(group_size), rows),
    })  # fmt: skip


def window_layout(columns: int, group_size: int, address_width: int) -> data.StructLayout:
    """Lay out one word of a window for all lanes: its place in the window, and whether it is the window's last."""
    return data.StructLayout({
        "data": data.ArrayLayout(group_layout(group_size), columns),
        "address": unsigned(address_width),
        "last": 1,
    })  # fmt: skip


def block_layout(column_depth: int) -> data.StructLayout:
    """Lay out a kept block as the step issuer wants it: where its groups lie, how many steps, and what it ends."""
    return data.StructLayout({
        "address": range(column_depth),
        "groups_minus_1": unsigned(6),
        "n_minus_1": unsigned(4),
        "last_of_tile": 1,
        "last_of_window": 1,
        "last_of_layer": 1,
    })  # fmt: skip
