import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY

from crisp.arch import CHANNEL, COUNT, COUNTERS, ENTRY, EXECUTE, WORDS, Field, FieldError, Word

ALL = (*WORDS, COUNTERS)
OF_ARRAYS = tuple(word for word in ALL if word.width <= 64)


def raises(message: str):
    """Expect a `FieldError` with exactly this message."""
    return pytest.raises(FieldError, match=f"^{re.escape(message)}$")


def values_of(word: Word) -> st.SearchStrategy:
    """Draw a value for every field."""
    return st.fixed_dictionaries({field.name: st.integers(field.low, field.high) for field in word.fields})


word_and_values = st.sampled_from(ALL).flatmap(lambda word: st.tuples(st.just(word), values_of(word)))


@PROPERTY
@given(word_and_values)
def test_unpack_inverts_pack(drawn) -> None:
    word, values = drawn
    packed = word.pack(**values)
    assert 0 <= packed < 1 << word.width
    assert word.unpack(packed) == values


@PROPERTY
@given(word_and_values)
def test_every_field_stands_where_shift_says(drawn) -> None:
    word, values = drawn
    packed = word.pack(**values)
    for field in word.fields:
        assert packed >> word.shift(field.name) & (1 << field.width) - 1 == values[field.name] % (1 << field.width)


@PROPERTY
@given(st.sampled_from(OF_ARRAYS).flatmap(lambda word: st.tuples(st.just(word), st.lists(values_of(word), max_size=5))))
def test_arrays_of_words_equal_single_words(drawn) -> None:
    word, rows = drawn
    columns = {field.name: np.array([row[field.name] for row in rows], np.int64) for field in word.fields}
    packed = word.pack_array(**columns)
    assert packed.dtype == np.dtype(f"<u{word.num_bytes}")
    assert packed.tolist() == [word.pack(**row) for row in rows]
    assert packed.tobytes() == b"".join(word.pack(**row).to_bytes(word.num_bytes, "little") for row in rows)
    for name, column in word.unpack_array(packed).items():
        assert column.tolist() == columns[name].tolist()


@pytest.mark.parametrize("word", ALL, ids=lambda word: word.name)
def test_a_value_outside_its_field_is_named(word: Word) -> None:
    lows = {field.name: field.low for field in word.fields}
    for field in word.fields:
        for value in (field.low - 1, field.high + 1):
            with raises(f"{word.name}.{field.name} must be in {field.low}..{field.high}, not {value}"):
                word.pack(**{**lows, field.name: value})
            if word in OF_ARRAYS:
                columns = {name: [low, low] for name, low in lows.items()}
                with raises(f"{word.name}.{field.name} must be in {field.low}..{field.high}, not {value}"):
                    word.pack_array(**{**columns, field.name: [field.low, value]})


def test_missing_and_unknown_fields() -> None:
    for pack in (ENTRY.pack, ENTRY.pack_array):
        with raises("entry has the fields index, n_minus_1, not index"):
            pack(index=1)
        with raises("entry has the fields index, n_minus_1, not index, n_minus_1, m"):
            pack(index=1, n_minus_1=0, m=4)
        with raises("entry has the fields index, n_minus_1, not none"):
            pack()
    with raises("entry has no field 'n'"):
        ENTRY.shift("n")


def test_reserved_bits_are_zero() -> None:
    for word, bit in ((COUNT, 13), (CHANNEL, 54), (CHANNEL, 63), (EXECUTE, 1023), (ENTRY, 16)):
        message = f"{word.name}: reserved bits from bit {word.used} on must be zero, but the word is {1 << bit:#x}"
        with raises(message):
            word.unpack(1 << bit)
        if word in OF_ARRAYS and bit < word.width:
            with raises(message):
                word.unpack_array(np.array([0, 1 << bit], np.uint64))


def test_arrays_hold_no_wider_words() -> None:
    message = "execute: an array holds words of 8, 16, 32 or 64 bits, not 1024"
    with raises(message):
        EXECUTE.pack_array(**{field.name: [field.low] for field in EXECUTE.fields})
    with raises(message):
        EXECUTE.unpack_array(np.zeros(1, np.uint64))


def test_width_of_a_word() -> None:
    fields = (Field("a", 9, "Nine bits."),)
    for width in (8, 12):
        with raises(f"w: width must be a multiple of 8 and at least 9, not {width}"):
            Word("w", width, fields, "A word.")
    assert Word("w", 16, fields, "A word.").num_bytes == 2


@pytest.mark.parametrize("word", ALL, ids=lambda word: word.name)
def test_every_field_is_documented_once(word: Word) -> None:
    names = [field.name for field in word.fields]
    assert len(set(names)) == len(names)
    assert word.doc.endswith(".")
    assert all(field.doc.endswith(".") and field.width > 0 for field in word.fields)


def test_entry_reaches_as_far_as_others_count() -> None:
    index = next(field for field in ENTRY.fields if field.name == "index")
    for word, name in ((EXECUTE, "block_columns"), (COUNT, "blocks")):
        assert next(field for field in word.fields if field.name == name).high >= index.high
