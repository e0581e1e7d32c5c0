"""``docs/formats.md``, written from the declarations that code and gateware are made of."""

import enum

import numpy as np

from .commands import END, EXECUTE, LOAD, RUN, STORE, UNIT_BYTES, ExecuteKind, LoadTarget, MemoryWindow, Opcode, Sharing
from .counters import COUNTERS, IDLE_CAUSES
from .fields import CHANNEL, COUNT, ENTRY, WORDS, Word
from .loads import offset_bits, offset_steps
from .packing import PackedWeights, pack, schedule
from .pattern import Pattern
from .program_document import PROGRAM_FILES, PROGRAM_WORDS

__all__ = ["formats_markdown"]

INTRODUCTION = """\
# Formats

Written by `crisp docs` from `sw/crisp/arch`; a test fails when this page is older than the code, so change the code.
Why the formats are as they are is in [contract.md](contract.md).

All words are little-endian in memory. Bits that no field has are reserved and zero, and whoever reads a word refuses it otherwise.

"""

CONTRACT = """\
## Sparsity contract

A layer is `Y[O, P] = requantize(W[O, K] @ X[K, P] + bias)`. Its weights `W`, int8, are cut into

- **blocks** of B x B weights, from row 0 and K 0 on; the last ones may be smaller. A block is kept or absent.
- **groups** of M neighbouring weights of a row; K is padded with zeros to whole groups. Of each group in a kept block at most N weights
  are not zero; N, 1 to M, is the block's. N = M is dense.

`crisp.arch.check` asks for these rules, and names the first one that weights break:

| rule | what it asks |
|---|---|
| shape | weights and pattern have one shape |
| kept | every block row keeps a block |
| uniform | N adds up to the same in every block row, absent blocks being 0 |
| absent | an absent block holds zeros |
| N:M | a group holds at most N non-zeros |

"""

PACKED = """\
## Packed weights

A layer's weights in memory are three parts, one after the other without padding (`PackedWeights.to_bytes`):

| part | how many | bytes each | what |
|---|---|---|---|
| counts | block rows, ceil(O / B) | {count_bytes} | word `count`: kept blocks of the block row |
| entries | sum of the counts | {entry_bytes} | word `entry`: one kept block, ascending within its block row |
| steps | as below | rows, and words of offsets | one weight for each row of the array |

### Order of the steps

    for each block row:
        for each row tile of it, `rows` rows, that has at least one row of the matrix:
            for each kept block of the block row, ascending:
                for each group of the block that exists, ascending:
                    for slot in 0 .. N - 1:
                        one step

The last block column has ceil(K / M) - (block columns - 1) x B / M groups; groups beyond them take no step.

### A step

Steps lie in words of `rows` bytes. The values of a step are a word: one signed byte for each of the rows 0, 1, ... `rows - 1`. Before the
values of every few steps stands a word of their offsets. An offset takes log2 M bits, or 4 where M = 8; that of row r of the j-th of
these steps lies in the bits from (j x rows + r) x bits on, bit 0 being the lowest of the first byte. What is left of the last word of
offsets is zero. An offset is the place of the weight in its group: the weight meets the activation K = group x M + offset.

Where all kept blocks of a layer have N = M there are no words of offsets (`LoadTarget.DENSE_STEPS`): step s has the offset s mod M.

| M | bits of an offset | steps after a word of offsets | bytes a step |
|---|---|---|---|
{step_sizes}

### Padding

- Where N < M, the non-zeros of a group come first in each row, offsets ascending. Slots that are left hold value 0, offset 0.
- Where N = M, slot j holds the weight at offset j, and offset j, also where the weight is 0.
- Rows of the last row tile beyond O hold zeros likewise. The zeros that pad K to whole groups take no slot from a weight.
- Where a block's N is more than its weights need (`Pattern.infer` raises N to make block rows equal), slots are left, and nothing else
  changes.

So a matrix and its pattern have one packed form. `PackedWeights.from_bytes` packs again what it read, and refuses all else.

"""

COMMANDS = """\
## Commands

A program is a list of commands, each of whole units of {unit_bytes} bytes. What they do, and in which order, is in
`sw/crisp/arch/commands.py`. Fields that name one of several things:

{enums}

"""

#: What the fields of commands choose from.
ENUMS = (Opcode, MemoryWindow, LoadTarget, ExecuteKind, Sharing)

COUNTER_NOTE = """\
`{terms}` add up to `total`, to the cycle: each cycle counts
once. Where several causes of idling hold, the first of tail, weights, windows, drain, output is counted.

"""


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Lay out a Markdown table."""
    lines = [f"| {' | '.join(str(cell) for cell in line)} |\n" for line in (header, *rows)]
    return "".join([lines[0], "|" + "---|" * len(header) + "\n", *lines[1:]])


def enum_line(kind: type[enum.IntEnum]) -> str:
    """List the values of an enum in a line."""
    return f"- `{kind.__name__}`: {', '.join(f'{member.value} {member.name}' for member in kind)}"


def word_table(word: Word) -> str:
    """Describe a word: its purpose, then one line a field."""
    rows: list[tuple[object, ...]] = []
    for field in word.fields:
        low = word.shift(field.name)
        bits = f"{low + field.width - 1}:{low}" if field.width > 1 else low
        rows.append((bits, f"`{field.name}`", "yes" if field.signed else "no", f"{field.low} to {field.high}", field.doc))
    if word.used < word.width:
        rows.append((f"{word.width - 1}:{word.used}", "reserved", "no", "0", "Zero."))
    title = f"### `{word.name}`: {word.width} bits\n\n{word.doc}\n\n"
    return f"{title}{table(('bits', 'field', 'signed', 'range', 'meaning'), rows)}\n"


def example_weights() -> tuple[np.ndarray, Pattern]:
    """Return a matrix that shows every case: a second row tile, padding of O and K, mixed N; weights count 1, 2, 3, ..."""
    pattern = Pattern((10, 22), 8, 4, np.array([[1, 0, 1], [0, 2, 0]]))
    weights = np.zeros((10, 24), np.int8)
    for row in range(10):
        for column in np.flatnonzero(pattern.n[row // 8]):
            for group in range(2 * column, 2 * column + 2):
                for slot in range(pattern.n[row // 8, column]):
                    weights[row, 4 * group + (row + 2 * slot) % 4] = 1
    weights = weights[:, :22]  # some of group 5 are lost to the edge
    weights[weights > 0] = np.arange(1, np.count_nonzero(weights) + 1)
    return weights, pattern


def drawing(weights: np.ndarray, pattern: Pattern) -> str:
    """Draw a small matrix: groups parted by spaces, blocks by lines, zeros as dots, absent blocks empty."""
    lines = []
    for row, line in enumerate(weights):
        if row % pattern.block == 0:
            lines.append("+".join("-" * (pattern.block_groups * (3 * pattern.group + 1) + 1) for _ in range(pattern.block_columns)))
        blocks = []
        for column, n in enumerate(pattern.n[row // pattern.block]):
            text = " "
            for group in range(column * pattern.block_groups, column * pattern.block_groups + pattern.column_groups[column]):
                inside = line[group * pattern.group :][: pattern.group]
                text += "".join(f"{value or '.':>3}" if n else "   " for value in inside) + " "
            blocks.append(text)
        lines.append("|".join(blocks).rstrip())
    return "".join(f"    {line}\n" for line in lines)


def step_table(packed: PackedWeights) -> str:
    """List the steps of a small matrix with what each is for and the bytes that it takes."""
    rows: list[tuple[object, ...]] = []
    words = iter(packed.encode_steps())
    steps = zip(packed.values, packed.offsets, strict=True)
    block_groups, together, number = packed.pattern.block_groups, offset_steps(packed.group), 0
    for groups, slots, first in schedule(packed.pattern, packed.rows):
        for group, slot in zip(groups, slots, strict=True):
            values, offsets = next(steps)
            where = (number, f"{first} to {first + packed.rows - 1}", group // block_groups, group, slot)
            stored = f"`{next(words).tobytes().hex(' ')}`" if number % together == 0 else ""
            data = f"`{next(words).tobytes().hex(' ')}`"
            rows.append((*where, " ".join(map(str, values)), " ".join(map(str, offsets)), stored, data))
            number += 1
    return table(("step", "rows", "block", "group", "slot", "values", "offsets", "word of offsets", "word of values"), rows)


def example() -> str:
    """Show a small layer as drawing, words and steps."""
    weights, pattern = example_weights()
    packed = pack(weights, pattern, rows=4)
    entries = [ENTRY.unpack(entry) for entry in packed.entries.tolist()]
    data = packed.to_bytes()
    split = [len(packed.counts) * COUNT.num_bytes, len(packed.entries) * ENTRY.num_bytes]
    words = [
        ("counts", " ".join(map(str, packed.counts)), f"`{data[: split[0]].hex(' ')}`"),
        (
            "entries",
            ", ".join(f"block {entry['index']} with N = {entry['n_minus_1'] + 1}" for entry in entries),
            f"`{data[split[0] : sum(split)].hex(' ')}`",
        ),
    ]
    return (
        f"### Example\n\nO = {pattern.shape[0]}, K = {pattern.shape[1]}, B = {pattern.block}, M = {pattern.group}, on an array of "
        f"{packed.rows} rows. Lines part the blocks, spaces the groups; a dot is a zero of a kept block. In each\n"
        f"block row N adds up to {pattern.n[0].sum()}: {' and '.join(' + '.join(map(str, n[n > 0])) for n in pattern.n)}.\n\n"
        f"{drawing(weights, pattern)}\n"
        f"{table(('part', 'holds', 'bytes'), list(words))}\n"
        f"{step_table(packed)}\n"
        f"{len(data)} bytes in all.\n\n"
    )


def formats_markdown() -> str:
    """Return the page that describes every format, ``docs/formats.md``."""
    step_sizes = "\n".join(
        f"| {group} | {offset_bits(group)} | {offset_steps(group)} | rows x {1 + 1 / offset_steps(group):g} |" for group in (2, 4, 8, 16)
    )
    sections = [
        INTRODUCTION,
        CONTRACT,
        PACKED.format(count_bytes=COUNT.num_bytes, entry_bytes=ENTRY.num_bytes, step_sizes=step_sizes),
        example(),
        "## Words\n\n",
        *(word_table(word) for word in (*WORDS, RUN)),
        f"The last row tile's channels beyond O have a `{CHANNEL.name}` word of zeros.\n\n",
        COMMANDS.format(unit_bytes=UNIT_BYTES, enums="\n".join(enum_line(kind) for kind in ENUMS)),
        *(word_table(word) for word in (LOAD, EXECUTE, STORE, END)),
        "## Counters\n\n",
        word_table(COUNTERS),
        COUNTER_NOTE.format(terms="`, `".join(("active", *IDLE_CAUSES))),
        PROGRAM_FILES,
        *(word_table(word) for word in PROGRAM_WORDS),
    ]
    return "".join(sections).rstrip("\n") + "\n"
