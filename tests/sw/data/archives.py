"""Small archives in CIFAR's original formats."""

import gzip
import io
import pickle
import tarfile

import numpy as np

COUNTS = {"train": 500, "test": 100}
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUNDRED = tuple(f"fine_{number:02}" for number in range(100))
TWENTY = tuple(f"group {number}" for number in range(20))


def make_images(count, seed):
    """Return pixels as CIFAR has them, uint8 [count, 3072], with fine labels of 100 classes."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3072), dtype=np.uint8), np.arange(count) % 100


def files(kind):
    """Return content by name of a small archive of ``kind``, the name of its folder."""
    found = {}
    hundred, pickled = "100" in kind, kind.endswith(("py", "python"))
    if hundred:
        parts = {"train": ("train", 0, 500), "test": ("test", 1, 100)}
    else:
        parts = {f"data_batch_{number}": ("train", number, 100) for number in range(1, 6)} | {"test_batch": ("test", 9, 100)}
    for name, (_, seed, count) in parts.items():
        pixels, labels = make_images(count, seed)
        if pickled:
            names = {b"fine_labels": labels, b"coarse_labels": labels // 5} if hundred else {b"labels": labels % 10}
            batch = {b"data": pixels, b"batch_label": b"a batch", **{key: value.tolist() for key, value in names.items()}}
            found[name] = pickle.dumps(batch, protocol=2)
        else:
            columns = [labels // 5, labels] if hundred else [labels % 10]
            found[f"{name}.bin"] = np.concatenate([np.stack(columns, 1).astype(np.uint8), pixels], axis=1).tobytes()
    if pickled and hundred:
        meta = {b"fine_label_names": [name.encode() for name in HUNDRED], b"coarse_label_names": [name.encode() for name in TWENTY]}
        found["meta"] = pickle.dumps(meta, protocol=2)
    elif pickled:
        found["batches.meta"] = pickle.dumps({b"label_names": [name.encode() for name in TEN], b"num_vis": 3072}, protocol=2)
    elif hundred:
        found["fine_label_names.txt"] = "\n".join(HUNDRED).encode() + b"\n"
        found["coarse_label_names.txt"] = "\n".join(TWENTY).encode() + b"\n"
    else:
        found["batches.meta.txt"] = "\n".join(TEN).encode() + b"\n\n"
    return {f"{kind}/{name}": content for name, content in found.items()} | {f"{kind}/readme.html": b"<html>"}


def write_tar(path, contents, extra=(), compressed=True):
    """Write an archive of ``contents`` and of ``extra`` members, each a TarInfo."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    path.write_bytes(gzip.compress(stream.getvalue(), mtime=0) if compressed else stream.getvalue())
    return path


def write_folder(path, contents):
    """Write the files of an unpacked archive below ``path``."""
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
