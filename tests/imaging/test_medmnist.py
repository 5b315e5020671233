"""Proves that a MedMNIST file becomes pictures and a label file, in its own order."""

import io

import numpy as np
import pandas as pd
import pytest

from focusmap.errors import InputError, MissingFileError
from focusmap.imaging.readers import read_image
from focusmap.imaging.readers.medmnist import convert_medmnist

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
def test_pictures_and_labels_are_those_of_the_file(tmp_path, shape):
    values = arrays(shape)
    table = pd.read_csv(convert_medmnist(saved(tmp_path, values), tmp_path / "out"), dtype=str)
    assert list(table["split"].unique()) == ["train", "val", "test"]
    for split, rows in table.groupby("split"):
        assert list(rows["label"]) == [str(label) for label in values[f"{split}_labels"]]
        for path, picture in zip(rows["path"], values[f"{split}_images"], strict=True):
            pixels = read_image(tmp_path / "out" / path).pixels
            assert np.array_equal(pixels, picture[np.newaxis] if picture.ndim == 2 else picture.transpose(2, 0, 1))


def test_official_label_shape_and_a_flat_one_give_the_same_table(tmp_path):
    flat = arrays()
    official = {name: value[:, np.newaxis] if "labels" in name else value for name, value in flat.items()}
    tables = [
        pd.read_csv(convert_medmnist(saved(tmp_path, values), tmp_path / f"out{k}"))
        for k, values in enumerate([flat, official])
    ]
    pd.testing.assert_frame_equal(*tables)


def test_several_labels_become_several_columns(tmp_path):
    values = arrays(labels=lambda n: RNG.integers(0, 2, (n, 14), dtype=np.uint8))
    table = pd.read_csv(convert_medmnist(saved(tmp_path, values), tmp_path / "out"))
    names = [f"label_{k}" for k in range(14)]
    assert np.array_equal(table[names][table["split"] == "val"], values["val_labels"])


def test_an_absent_split_is_no_harm_and_a_second_time_replaces_the_first(tmp_path):
    values = arrays()
    convert_medmnist(saved(tmp_path, values), tmp_path / "out")
    for name in ("test_images", "test_labels"):
        del values[name]
    table = pd.read_csv(convert_medmnist(saved(tmp_path, values), tmp_path / "out"))
    assert len(table) == len(list((tmp_path / "out" / "images").iterdir())) == 10
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "labels.csv"]


WRONG = {
    "other names": ({"x": np.zeros(3)}, "holds x; train_images and train_labels were expected"),
    "volumes": (arrays((28, 28, 28)), "2-D pictures"),
    "floats": ({**arrays(), "train_images": np.zeros((7, 28, 28))}, "float64"),
    "labels too few": ({**arrays(), "train_labels": np.zeros(6, int)}, "7 pictures; train_labels holds 6"),
    "labels of text": (arrays(labels=lambda n: np.array(["a"] * n)), "whole numbers"),
    "pickled": ({**arrays(), "train_labels": np.array([{}] * 7, object)}, "allow_pickle"),
}


@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_what_is_not_medmnist_is_refused_and_nothing_is_written(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        convert_medmnist(saved(tmp_path, values), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_a_broken_and_a_single_array_file(tmp_path):
    with pytest.raises(MissingFileError):
        convert_medmnist(tmp_path / "none.npz", tmp_path / "out")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    whole = saved(tmp_path, arrays()).read_bytes()
    for content in (b"", b"no zip at all", whole[: len(whole) // 2], buffer.getvalue()):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz"):
            convert_medmnist(tmp_path / "bad.npz", tmp_path / "out")
