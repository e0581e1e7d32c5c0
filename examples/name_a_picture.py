"""From a picture to the name of its class: what a compiled program takes, and what its answer means.

    python examples/name_a_picture.py net.crisp cat.jpeg

The program is one of `crisp quantize` and `crisp compile`, which know the names of the classes and how pixels are normalised. ``--save``
keeps what goes in, for ``crisp run net.crisp --input image.npy``.
"""

import argparse
from pathlib import Path

import numpy as np

from crisp.arch import Program
from crisp.data import Normalization
from crisp.data.crops import central_square
from crisp.data.picture_files import read_picture
from crisp.runtime import Accelerator


def main() -> None:
    """Read the options and print the classes, the most likely one first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, help="program file, .crisp, for one image")
    parser.add_argument("picture", type=Path, help="a picture file, of any size")
    parser.add_argument("--backend", default="golden", help="golden or verilator")
    parser.add_argument("--save", type=Path, help="array (.npy) to write with what goes in")
    arguments = parser.parse_args()
    program = Program.load(arguments.program)
    image = read_image(program, arguments.picture)
    if arguments.save:
        np.save(arguments.save, image)
    for name, logit in name_image(program, image, arguments.backend)[:5]:
        print(f"{logit:8.3f}  {name}")


def read_image(program: Program, picture: Path) -> np.ndarray:
    """Return a picture as the program's input: its central square, normalised as in training, real numbers [1, H, W, C]."""
    _, height, width, channels = program.inputs[0].shape
    assert height == width, "a network that was trained on pictures looks at squares"
    pixels = central_square(read_picture(picture, channels), height)  # uint8 [H, W], or of colours [H, W, 3]
    known = program.info["normalization"]
    normalization = Normalization(tuple(known["mean"]), tuple(known["deviation"]))
    return normalization.normalize(pixels[None]).transpose(0, 2, 3, 1)  # [N, C, H, W] as in PyTorch, [N, H, W, C] in the machine


def name_image(program: Program, image: np.ndarray, backend: str) -> list[tuple[str, float]]:
    """Run the program on real numbers [1, H, W, C] and return each class with its logit, the largest first."""
    (into,), (out,) = program.inputs, program.outputs
    result = Accelerator(program.config, backend=backend).run(program, {into.name: into.quantize(image)})
    logits = out.dequantize(result.outputs[out.name]).ravel()  # from int8 [1, 1, 1, classes]
    return [(program.info["classes"][label], float(logits[label])) for label in np.argsort(-logits, kind="stable")]


if __name__ == "__main__":
    main()
