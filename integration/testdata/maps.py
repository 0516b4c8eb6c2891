"""Maps of the files of a checkpoint, as people use them.

    maps.py write DIR    makes the checkpoint
    maps.py numpy DIR    maps an array and, after the end of stdin, reads all of it
    maps.py torch DIR    the same with the tensors of a file of torch.save
"""

import os
import sys
import zipfile

import numpy
import torch

ROWS, COLUMNS = 40, 1 << 20


def values(seed):
    return numpy.random.default_rng(seed).integers(0, 256, size=(ROWS, COLUMNS), dtype=numpy.uint8)


def write(directory):
    numpy.save(os.path.join(directory, "array.npy"), values(1))
    torch.save({"weights": torch.from_numpy(values(2))}, os.path.join(directory, "model.pt"))


def mapped(array, seed):
    """array is what has been mapped. Its first row is there before the rest is."""
    right = values(seed)
    assert (array[0] == right[0]).all(), "the first row is wrong"
    print("mapped", flush=True)
    sys.stdin.read()
    assert (array == right).all(), "the rest is wrong"


def map_numpy(directory):
    mapped(numpy.load(os.path.join(directory, "array.npy"), mmap_mode="r"), 1)


def map_torch(directory):
    path = os.path.join(directory, "model.pt")
    try:
        weights = torch.load(path, mmap=True)["weights"].numpy()
    except TypeError:  # before torch 2.1: map the storage as that does
        weights = map_storage(path)
    mapped(weights, 2)


def map_storage(path):
    with zipfile.ZipFile(path) as z:
        entry = next(i for i in z.infolist() if "/data/" in i.filename and i.file_size == ROWS * COLUMNS)
    with open(path, "rb") as f:
        f.seek(entry.header_offset + 26)
        name, extra = (int.from_bytes(f.read(2), "little") for _ in range(2))
    offset = entry.header_offset + 30 + name + extra
    storage = numpy.memmap(path, mode="r", dtype=numpy.uint8, offset=offset, shape=(ROWS, COLUMNS))
    return torch.from_numpy(numpy.asarray(storage)).numpy()


if __name__ == "__main__":
    {"write": write, "numpy": map_numpy, "torch": map_torch}[sys.argv[1]](sys.argv[2])
