"""Proves that CIFAR-10's archive becomes images with class names, and that its pickles can do nothing else."""

import io
import os
import pickle
import tarfile

import numpy as np
import pandas as pd
import pytest

from focusmap import convert
from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.images import read_image

RNG = np.random.default_rng(0)
NAMES = ["airplane", "automobile", "bird"]


def a_batch(n, **other):
    pixels = RNG.integers(0, 256, (n, 3072), dtype=np.uint8)
    labels = [int(label) for label in RNG.integers(0, len(NAMES), n)]
    return {b"batch_label": b"a batch", b"labels": labels, b"data": pixels, b"filenames": [b"a.png"] * n, **other}


META = pickle.dumps({b"label_names": [name.encode() for name in NAMES]}, protocol=2)
BATCHES = {name: a_batch(n) for name, n in {"data_batch_1": 4, "data_batch_2": 3, "test_batch": 2}.items()}


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def packed(protocol=2, **other):
    return {**{name: pickle.dumps(batch, protocol) for name, batch in BATCHES.items()}, "batches.meta": META, **other}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("as_folder", [False, True], ids=["archive", "folder"])
def test_images_and_names_are_those_of_the_batches(tmp_path, as_folder, protocol):
    source = tmp_path / "cifar-10-batches-py" if as_folder else tmp_path / "cifar-10-python.tar.gz"
    if as_folder:
        source.mkdir()
        for name, content in packed(protocol).items():
            (source / name).write_bytes(content)
    else:
        archive(source, packed(protocol))
    table = pd.read_csv(convert(source, tmp_path / "out").labels)
    assert list(table["split"]) == ["train"] * 7 + ["test"] * 2
    assert list(table["label"]) == [NAMES[label] for batch in BATCHES.values() for label in batch[b"labels"]]
    rows = np.concatenate([batch[b"data"] for batch in BATCHES.values()])
    for path, row in zip(table["path"], rows, strict=True):
        pixels = read_image(tmp_path / "out" / path).pixels
        # "The first 1024 entries contain the red channel values, the next 1024 the green, and the final 1024 the blue."
        assert np.array_equal(pixels.reshape(3, 1024), row.reshape(3, 1024))


class Attack:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def remembered_far_away():
    return b"\x80\x02}r" + (2**31 - 1).to_bytes(4, "little") + b"."


HOSTILE = {
    "a command": (pickle.dumps(Attack(os.system, "touch pwned")), "asks for posix.system"),
    "eval": (pickle.dumps(Attack(eval, "1+1")), r"asks for (builtins|__builtin__)\.eval"),
    "a numpy function": (pickle.dumps(Attack(np.load, "x.npy")), "asks for numpy"),
    "a file's name": (b"\x80\x02Pdata\n.", "persistent"),
    "a huge memo": (remembered_far_away(), "remembers more than it holds"),
    "a list": (pickle.dumps([1]), "holds list"),
    "an array of objects": (
        pickle.dumps(a_batch(2, data=np.array([{}, {}], object))),
        "data is not an array|data and labels",
    ),
    "an array of decimals": (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}), "data is not an array"),
    "too short an array": (pickle.dumps({"data": np.zeros((2, 9), np.uint8), "labels": [0, 1]}), "3072 bytes each"),
    "labels that are none": (
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [7]}),
        "label 7 of image 0",
    ),
    "fewer labels": (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), "2 images and 1 labels"),
    "nothing": (b"", "is not a batch"),
    "half": (pickle.dumps(a_batch(2))[:500], "is not a batch"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_damaged_batch_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    source = archive(tmp_path / "cifar.tar.gz", packed(data_batch_2=content))
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar.tar.gz"]


def test_an_archive_without_names_or_cut_off_is_refused(tmp_path, capsys):
    files = packed()
    del files["batches.meta"]
    source = archive(tmp_path / "cifar.tar.gz", files)
    assert main(["convert", str(source), "--out", str(tmp_path / "out")]) == 2
    assert "holds no batches.meta" in capsys.readouterr().err
    source.write_bytes(archive(source, packed()).read_bytes()[:-9000])
    assert main(["convert", str(source), "--out", str(tmp_path / "out")]) == 2
    assert "cifar.tar.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
