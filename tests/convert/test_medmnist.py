"""Proves that a MedMNIST file becomes images and a label file, in its own order."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from focusmap import convert
from focusmap.basics import InputError, MissingFileError
from focusmap.images import read_image

RNG = np.random.default_rng(0)


def arrays(shape=(28, 28), labels=lambda n: RNG.integers(0, 2, n)):
    sizes = {"train": 7, "val": 3, "test": 4}
    images = {f"{split}_images": RNG.integers(0, 256, (n, *shape), dtype=np.uint8) for split, n in sizes.items()}
    return images | {f"{split}_labels": labels(n) for split, n in sizes.items()}


def saved(tmp_path, values):
    path = tmp_path / "some.npz"
    np.savez(path, **values)
    return path


@pytest.mark.parametrize("shape", [(28, 28), (12, 20, 3)], ids=["grey", "colour"])
def test_images_and_labels_are_those_of_the_file(tmp_path, shape):
    values = arrays(shape)
    table = pd.read_csv(convert(saved(tmp_path, values), tmp_path / "out").labels, dtype=str)
    assert list(table["split"].unique()) == ["train", "val", "test"]
    for split, rows in table.groupby("split"):
        assert list(rows["label"]) == [str(label) for label in values[f"{split}_labels"]]
        for path, image in zip(rows["path"], values[f"{split}_images"], strict=True):
            pixels = read_image(tmp_path / "out" / path).pixels
            assert np.array_equal(pixels, image[np.newaxis] if image.ndim == 2 else image.transpose(2, 0, 1))


def test_official_label_shape_and_a_flat_one_give_the_same_table(tmp_path):
    flat = arrays()
    official = {name: value[:, np.newaxis] if "labels" in name else value for name, value in flat.items()}
    tables = [
        pd.read_csv(convert(saved(tmp_path, values), tmp_path / f"out{k}").labels)
        for k, values in enumerate([flat, official])
    ]
    pd.testing.assert_frame_equal(*tables)


def test_several_labels_become_several_columns(tmp_path):
    values = arrays(labels=lambda n: RNG.integers(0, 2, (n, 14), dtype=np.uint8))
    table = pd.read_csv(convert(saved(tmp_path, values), tmp_path / "out").labels)
    names = [f"label_{k}" for k in range(14)]
    assert np.array_equal(table[names][table["split"] == "val"], values["val_labels"])


def test_an_absent_split_is_no_harm_and_a_second_time_replaces_the_first(tmp_path):
    values = arrays()
    convert(saved(tmp_path, values), tmp_path / "out")
    for name in ("test_images", "test_labels"):
        del values[name]
    table = pd.read_csv(convert(saved(tmp_path, values), tmp_path / "out", force=True).labels)
    assert len(table) == len(list((tmp_path / "out" / "images").iterdir())) == 10
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "labels.csv"]


WRONG = {
    "other names": ({"x": np.zeros(3)}, "holds x; train_images and train_labels were expected"),
    "floats": ({**arrays(), "train_images": np.zeros((7, 28, 28))}, "float64"),
    "labels too few": ({**arrays(), "train_labels": np.zeros(6, int)}, "7 images; train_labels holds 6"),
    "labels of text": (arrays(labels=lambda n: np.array(["a"] * n)), "whole numbers"),
    "pickled": ({**arrays(), "train_labels": np.array([{}] * 7, object)}, "of object; one or several whole numbers"),
    "no labels": ({k: v for k, v in arrays().items() if k != "val_labels"}, "val_labels is missing"),
    "huge": ({**arrays(), "train_images": np.zeros((7, 0, 28), np.uint8)}, "claims 0 x 28"),
}


@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_what_is_not_medmnist_is_refused_and_nothing_is_written(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        convert(saved(tmp_path, values), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_a_broken_and_a_single_array_file(tmp_path):
    with pytest.raises(MissingFileError):
        convert(tmp_path / "none.npz", tmp_path / "out")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    whole = saved(tmp_path, arrays()).read_bytes()
    for content in (b"", b"no zip at all", whole[: len(whole) // 2], buffer.getvalue()):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz"):
            convert(tmp_path / "bad.npz", tmp_path / "out")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("train_images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (200, 1000, 1000)})
        for _ in range(200):
            file.write(bytes(10**6))
    assert path.stat().st_size < 400_000
    with pytest.raises(InputError, match=r"bomb\.npz: train_images\.npy would inflate"):
        convert(path, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_claim_that_the_bytes_do_not_bear_out_is_refused(tmp_path):
    whole = saved(tmp_path, arrays())
    liar = tmp_path / "liar.npz"
    with zipfile.ZipFile(whole) as read, zipfile.ZipFile(liar, "w") as write:
        for name in read.namelist():
            write.writestr(name, read.read(name)[:-5] if name == "val_images.npy" else read.read(name))
    with pytest.raises(InputError, match="val_images ends after 2 of 3 images"):
        convert(liar, tmp_path / "out")
    assert not (tmp_path / "out").exists()
