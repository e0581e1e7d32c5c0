"""Payload layouts: the packed words of the contract, and what travels between the blocks of the engine."""

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from crisp.arch import Word

__all__ = [
    "block_layout",
    "fields_layout",
    "group_layout",
    "read_request_layout",
    "read_response_signature",
    "slot_layout",
    "step_layout",
    "walk_layout",
    "weight_layout",
    "window_word_layout",
    "word_layout",
    "write_port_layout",
    "write_request_layout",
]


def word_layout(word: Word) -> data.StructLayout:
    """Lay out a packed word of the contract; bits above the last field become ``reserved``."""
    fields = {field.name: (signed if field.signed else unsigned)(field.width) for field in word.fields}
    used = sum(field.width for field in word.fields)
    if used < word.width:
        fields["reserved"] = unsigned(word.width - used)
    return data.StructLayout(fields)


def fields_layout(word: Word, *names: str) -> data.StructLayout:
    """Lay out some fields of a packed word, for a block that needs no others."""
    shapes = word_layout(word)
    return data.StructLayout({name: shapes[name].shape for name in names})


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


def block_layout(column_depth: int) -> data.StructLayout:
    """Lay out a kept block as the step issuer wants it: where in the window its groups lie, how many steps, and what it ends.

    ``last_of_list``: the kept blocks of a row tile. ``last_of_tile``: a sum, whose results leave the array. ``last_of_window``: the use
    of a window. ``last_of_pixel_tile``: all row tiles of a pixel tile, so that weights begin anew. ``last_of_command``: everything.
    """
    return data.StructLayout({
        "address": range(column_depth),
        "groups_minus_1": unsigned(6),
        "n_minus_1": unsigned(4),
        "last_of_list": 1,
        "last_of_tile": 1,
        "last_of_window": 1,
        "last_of_pixel_tile": 1,
        "last_of_command": 1,
    })  # fmt: skip


def window_word_layout(columns: int, group_size: int) -> data.StructLayout:
    """Lay out one word of a window for all lanes; words come in order, so that only the end of the window has to be told."""
    return data.StructLayout({"data": slot_layout(columns, group_size), "last": 1})


def slot_layout(columns: int, group_size: int) -> data.ArrayLayout:
    """Lay out one word for each lane: what the activation buffer answers, and M neighbouring rows of a tile of results."""
    return data.ArrayLayout(group_layout(group_size), columns)


def read_request_layout(columns: int, words: int) -> data.StructLayout:
    """Lay out a request to read the activation buffer of ``words`` words: an address for each enabled lane."""
    return data.StructLayout({"addresses": data.ArrayLayout(range(words), columns), "enables": unsigned(columns)})


def read_response_signature(columns: int, group_size: int) -> wiring.Signature:
    """Return the signature of answers to read requests, in their order. They cannot be held back: who asks has room for the answer."""
    return wiring.Signature({"valid": Out(1), "payload": Out(slot_layout(columns, group_size))})


def write_request_layout(columns: int, group_size: int, words: int) -> data.StructLayout:
    """Lay out a request to write the activation buffer of ``words`` words: an address and a word for each enabled lane."""
    return data.StructLayout({
        "addresses": data.ArrayLayout(range(words), columns),
        "enables": unsigned(columns),
        "data": slot_layout(columns, group_size),
    })  # fmt: skip


def write_port_layout(shape: ShapeLike, depth: int) -> data.StructLayout:
    """Lay out the write port of a buffer of ``depth`` words that LOADs fill. It takes a word in every cycle."""
    return data.StructLayout({"enable": 1, "address": range(max(2, depth)), "data": shape})


def walk_layout(columns: int) -> data.StructLayout:
    """Lay out what the lanes of a pixel walk do in a cycle.

    ``load``: the seed takes the first pixel. ``fill``: the last lane takes the seed, every other lane its upper neighbour, and the seed
    goes to the next pixel, on to the next row when ``lane_wrap``. ``advance``: all lanes go to the next tile, lane l on to the next row
    when bit l of ``tile_wraps``.
    """
    return data.StructLayout({"load": 1, "fill": 1, "advance": 1, "lane_wrap": 1, "tile_wraps": unsigned(columns)})
