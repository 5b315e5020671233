"""Volumes become slices and slices volumes, and come back equal; MedMNIST's volumes too; faults are named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap import ConvertRequest, convert
from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.images import read_image, read_mask, write_nifti

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(0, 256, (9, 7, 5)).astype(np.uint8)  # columns, rows, slices
MASK = np.zeros(VOXELS.shape, bool)
MASK[2:5, 1:4, 3] = True


@pytest.fixture
def volumes(tmp_path):
    """A label file of two volumes without an affine, one with a mask."""
    for name in ("a", "b"):
        write_nifti(tmp_path / f"in/{name}.nii.gz", VOXELS[np.newaxis], None)
    write_nifti(tmp_path / "in/mask.nii.gz", MASK[np.newaxis].astype(np.uint8), None)
    rows = [("a.nii.gz", "p1", 1, "mask.nii.gz"), ("b.nii.gz", "p2", 0, "")]
    pd.DataFrame(rows, columns=["path", "patient_id", "tumour", "mask"]).to_csv(tmp_path / "in/labels.csv", index=False)
    return tmp_path / "in/labels.csv"


def table_of(made):
    return pd.read_csv(made.labels, dtype=str, keep_default_na=False)


def test_each_slice_has_its_volumes_label_and_its_part_of_the_mask(volumes, tmp_path):
    table = table_of(convert(volumes, tmp_path / "out", ConvertRequest(slices=True)))
    assert table[["case", "slice"]].to_numpy().tolist() == [[f"{n}.nii.gz", str(k)] for n in "ab" for k in range(5)]
    assert table["tumour"].tolist() == ["1"] * 5 + ["0"] * 5
    assert table["mask"].ne("").tolist() == [k == 3 for k in range(10)]
    for k in range(5):
        assert np.array_equal(read_image(tmp_path / "out" / table["path"][k]).pixels[0], VOXELS[:, :, k].T)
    assert np.array_equal(read_mask(tmp_path / "out" / table["mask"][3]), MASK[:, :, 3].T)


def test_slices_have_labels_of_their_own_where_a_table_gives_them(volumes, tmp_path):
    labels = tmp_path / "in/slices.csv"
    pd.DataFrame({"volume": ["a.nii.gz"] * 2, "slice": [3, 1], "tumour": [1, 0], "size": [9, 0]}).to_csv(
        labels, index=False
    )
    table = table_of(convert(volumes, tmp_path / "out", ConvertRequest(slices=True, slice_labels=labels)))
    assert table[["slice", "tumour", "size"]].to_numpy().tolist() == [["3", "1", "9"], ["1", "0", "0"]]
    pd.DataFrame({"volume": ["a.nii.gz"], "slice": [5], "tumour": [1]}).to_csv(labels, index=False)
    with pytest.raises(InputError, match="has 5 slices, from 0; the table names slice 5"):
        convert(volumes, tmp_path / "none", ConvertRequest(slices=True, slice_labels=labels))


def test_neighbours_are_colours_and_the_ends_repeat(volumes, tmp_path):
    table = table_of(convert(volumes, tmp_path / "out", ConvertRequest(slices=True, neighbours=True)))
    for k, around in ((0, (0, 0, 1)), (2, (1, 2, 3)), (4, (3, 4, 4))):
        found = read_image(tmp_path / "out" / table["path"][k]).pixels
        assert np.array_equal(found, np.stack([VOXELS[:, :, i].T for i in around]))


def test_what_was_cut_into_slices_is_stacked_again(volumes, tmp_path):
    made = convert(volumes, tmp_path / "slices", ConvertRequest(slices=True))
    table_of(made).sample(frac=1, random_state=0).to_csv(made.labels, index=False)
    request = ConvertRequest(stack=("case", "slice"), spacing=(0.5, 0.5, 4.0))
    table = table_of(convert(made.labels, tmp_path / "out", request)).sort_values("path")
    assert table["path"].tolist() == ["volumes/a.nii.gz", "volumes/b.nii.gz"]
    assert table["patient_id"].tolist() == ["p1", "p2"]
    image = read_image(tmp_path / "out/volumes/a.nii.gz")
    assert np.array_equal(image.pixels[0], VOXELS)
    assert np.allclose(np.abs(np.diag(image.affine))[:3], (0.5, 0.5, 4.0))
    assert np.array_equal(read_mask(tmp_path / "out" / table["mask"].iloc[0]), MASK)
    assert "slice" not in table


def test_a_stack_without_spacing_says_none_and_a_label_of_any_slice_is_the_volumes(tmp_path):
    for k in range(3):
        Image.fromarray(VOXELS[:, :, k].T).save(tmp_path / f"{k}.png")
    rows = {"path": ["0.png", "1.png", "2.png"], "volume": "v", "position": [0.0, 2.5, 5.0], "tumour": [0, 1, 0]}
    pd.DataFrame(rows).to_csv(tmp_path / "slices.csv", index=False)
    made = convert(tmp_path / "slices.csv", tmp_path / "out", ConvertRequest(stack=("volume", "position")))
    assert table_of(made)["tumour"].tolist() == ["1"]
    assert read_image(tmp_path / "out/volumes/v.nii.gz").affine is None


@pytest.mark.parametrize(
    ("positions", "message"),
    [([0, 1, 3], "uneven"), ([0, 1, 1], "uneven: 0 between"), ([0, 1, "x"], "'x' of 2.png is no number")],
)
def test_a_stack_with_a_hole_or_two_slices_in_one_place_is_refused(tmp_path, positions, message):
    for k in range(3):
        Image.fromarray(VOXELS[:, :, k]).save(tmp_path / f"{k}.png")
    rows = {"path": ["0.png", "1.png", "2.png"], "volume": "v", "position": positions}
    pd.DataFrame(rows).to_csv(tmp_path / "slices.csv", index=False)
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "slices.csv", tmp_path / "out", ConvertRequest(stack=("volume", "position")))


def test_medmnists_volumes_become_nifti_without_a_spacing(tmp_path):
    stored = RNG.integers(0, 256, (3, 4, 5, 6)).astype(np.uint8)  # volumes, slices, rows, columns
    np.savez(tmp_path / "organ.npz", train_images=stored, train_labels=np.array([[0], [1], [2]]))
    table = table_of(convert(tmp_path / "organ.npz", tmp_path / "out"))
    assert table["label"].tolist() == ["0", "1", "2"]
    image = read_image(tmp_path / "out" / table["path"][1])
    assert np.array_equal(image.pixels[0], stored[1].transpose(2, 1, 0))
    assert image.affine is None


def test_the_command_line_does_the_same_and_refuses_what_does_not_go_together(volumes, tmp_path, capsys):
    assert main(["convert", str(volumes), "--slices", "--neighbours", "--out", str(tmp_path / "out")]) == 0
    assert "10 images" in capsys.readouterr().out
    assert main(["convert", str(volumes), "--slices", "--stack", "a,b", "--out", str(tmp_path / "no")]) == 2
    assert "choose one of" in capsys.readouterr().err
    assert main(["convert", str(volumes), "--neighbours", "--out", str(tmp_path / "no")]) == 2
