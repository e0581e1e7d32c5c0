"""The part of ``docs/formats.md`` on program files."""

from .program import ALIGNMENT, MAX_META_BYTES, PROGRAM_HEADER, PROGRAM_SECTION, VERSION

__all__ = ["PROGRAM_FILES", "PROGRAM_WORDS"]

#: Words of the page.
PROGRAM_WORDS = (PROGRAM_HEADER, PROGRAM_SECTION)

PROGRAM_FILES = f"""\
## Program files

A compiled network is a file `.crisp`, version {VERSION}: the word `{PROGRAM_HEADER.name}`, three words
`{PROGRAM_SECTION.name}`, and the sections, each at the next multiple of {ALIGNMENT} bytes with zeros before it. For given content there is
one file. A reader (`Program.load`) checks lengths before it allocates, every CRC-32 before it looks at what it covers, then META, and
then each command by the rules that the machine itself applies.

| section | what |
|---|---|
| META | JSON, UTF-8, at most {MAX_META_BYTES >> 20} MiB: an object of the values below, no others |
| COMMANDS | commands, END last |
| CONSTANTS | what LOADs of window PROGRAM read |

In memory the window PROGRAM is COMMANDS, and from the next multiple of {ALIGNMENT} bytes on CONSTANTS; offsets in commands count from the
window's begin. All windows are filled up to multiples of {ALIGNMENT} bytes.

| META | what |
|---|---|
| `network` | name |
| `config` | every field of the configuration; its digest is the header's |
| `inputs`, `outputs` | tensors in the windows INPUT and OUTPUT, see below |
| `scratch_bytes` | bytes of window SCRATCH |
| `layers` | `name`, `operation`, `macs` of the dense layer, `predicted_cycles` of every layer |
| `command_layers` | for each command the number of the layer that it serves; empty where that is not known |
| `info` | anything else, such as seeds; where known `classes`, the output channels' names, and `normalization` of pixels |

A tensor is int8, N x H x W x C, and stands for real values `scale` x (integer - `zero_point`). It has `name`, `shape`, `scale`,
`zero_point`, `layout`, `group_size` (M), `stride`, `offset`, its first byte in the window, and `interleave`. A program computes all N
images in one run.

- `layout` = `planes`: for each image and each M channels a plane, H x W words of M bytes, row after row; `stride` bytes from plane to
  plane. Channels beyond C are 0. Where `interleave` is not 1, so many images, one after the other in N, have planes together: a pixel has a
  word of the first of them, then one of the second, and so on. So H x W x `interleave` words make a plane.
- `layout` = `rows`: for each image and each of its rows W x C bytes; `stride` bytes from row to row.

"""
