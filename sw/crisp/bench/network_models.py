"""Networks that are measured, built once and kept, and the pictures that they see."""

import hashlib
import json
from pathlib import Path

import numpy as np

from crisp.arch.files import replacing
from crisp.data import load_dataset, load_pictures, normalize, normalize_colours
from crisp.networks import CHECKPOINT, NETWORKS, build_network
from crisp.quantize import export_onnx
from crisp.report import write_json

from .network_cases import Case

__all__ = ["load_model"]

#: Pictures to calibrate with; the next ones are the input.
CALIBRATION_IMAGES = 8

#: Built networks, by what they are made from.
MODELS = Path("build/networks")


def load_model(case: Case, seed: int) -> tuple[bytes, float, np.ndarray]:
    """Return a network as ONNX, the density of its pruned layers, and the input, float32 [N, C, H, W].

    What was built is kept, by the sources that build it and the weights that come with them. Pictures that are none of those to calibrate
    with are the input, in turn.
    """
    spec = NETWORKS[case.network]
    if spec.architecture == "resnet20":
        clothes = load_dataset("fashion-mnist")
        pictures = np.concatenate([clothes.train.take(slice(CALIBRATION_IMAGES)).pixels(), clothes.test.take(slice(case.batch)).pixels()])
        scaled = normalize(pictures)
    else:
        scaled = normalize_colours(load_pictures(size=spec.input_size).images)
    images = scaled[: CALIBRATION_IMAGES + 1]
    folder = Path(__file__).parents[1]
    sources = [folder / "networks.py", *(path for name in ("models", "prune", "quantize") for path in sorted((folder / name).glob("*.py")))]
    sources += [folder / "golden" / "convolution.py", *([CHECKPOINT] if spec.architecture == "resnet20" else [])]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + images.tobytes())
    stem = f"{case.network}-{case.density:g}-{seed}-{digest.hexdigest()[:16]}"
    model, description = (MODELS / f"{stem}.{kind}" for kind in ("onnx", "json"))
    if not description.is_file():
        built = build_network(case.network, case.sparsity, seed=seed, images=images[:CALIBRATION_IMAGES])
        sparsity = case.sparsity
        data = (
            export_onnx(built.quantized) if sparsity is None else export_onnx(built.quantized, block=sparsity.block, group=sparsity.group)
        )
        with replacing(model) as temporary:
            temporary.write_bytes(data)
        write_json(description, {"density": built.density})
    rest = np.arange(CALIBRATION_IMAGES, len(scaled))
    return model.read_bytes(), json.loads(description.read_text())["density"], scaled[np.resize(rest, case.batch)]
