"""Volumes the whole way: files, maps in the source's grid, the report's slices; every door answers bad input once."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from focusmap.images import write_nifti
from focusmap.phantom import FINDINGS
from support.options import quick
from support.studies import phantom_study

pytestmark = pytest.mark.slow

QUICK = quick(size=0, more="--batch-size 4 --shape 16,16,16")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 24 volumes of 12 patients."""
    folder = tmp_path_factory.mktemp("study")
    return phantom_study(folder, patients=12, images=24, size=28, dimensions=3)


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    """A finished run of a focus-map net."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["run", str(study), "--out", str(folder), "--model", "small-residual-3d-fpn", *QUICK]) == 0
    return folder


def test_maps_and_regions_have_the_grid_and_affine_of_their_volume(run, study):
    index = pd.read_csv(run / "focus/index.csv", keep_default_na=False)
    assert len(index) % len(FINDINGS) == 0
    for row in index.to_dict("records"):
        source = nibabel.load(study.parent / row["path"])
        for name, kind in ((row["map"], "f4"), (row["binary"], "u1")):
            found = nibabel.load(run / "focus" / name)
            assert found.shape == source.shape
            assert found.get_data_dtype() == np.dtype(kind)
            np.testing.assert_array_equal(found.affine, source.affine)
        strip = Image.open(run / "focus" / row["slices"])
        assert row["n_slices"] == 28
        assert strip.height % 28 == 0
        assert Image.open(run / "focus" / row["overlay"]).width > 400


def test_the_report_steps_through_slices_without_a_script(run):
    page = (run / "report.html").read_text()
    assert "<script" not in page
    assert 'class="stepper"' in page
    assert page.count(" checked>") == page.count('class="stepper"')


def test_scores_stand_beside_the_baselines(run):
    scores = json.loads((run / "focus/scores.json").read_text())
    assert {"focus", "mean_mask", "centre", "edges", "picture_only", "random"} <= set(scores["methods"])


def test_single_volumes_are_predicted_and_explained_one_by_one_as_in_a_batch(run, study, tmp_path):
    index = pd.read_csv(run / "focus/index.csv", keep_default_na=False)
    first = index.iloc[0]
    volume = str(study.parent / first["path"])
    assert main(["explain", str(run), volume, "--out", str(tmp_path / "out")]) == 0
    alone = nibabel.load(next((tmp_path / "out/maps").glob(f"*.{first['target']}.nii.gz")))
    together = nibabel.load(run / "focus" / first["map"])
    np.testing.assert_allclose(alone.get_fdata(), together.get_fdata(), atol=1e-4)
    assert main(["explain", str(run), volume, "--out", str(tmp_path / "grad"), "--method", "gradcam"]) == 0


def test_a_dry_run_says_what_a_volume_becomes(study, tmp_path, capsys):
    assert main(["run", str(study), "--out", str(tmp_path / "x"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "ladder, 28 x 28 x 28 voxels" in said
    assert main(["run", str(study), "--out", str(tmp_path / "x"), "--dry-run", "--weights", "none"]) == 0
    assert "small-residual-3d, 28 x 28 x 28 voxels" in capsys.readouterr().out
    assert "28 x 28 x 28 voxels of 5 x 5 x 5 mm (8 examined)" in said


def another(study: Path, folder: Path) -> Path:
    """Return a copy of the study with room for something odd in its last row."""
    table = pd.read_csv(study, dtype=str, keep_default_na=False)
    for name in ("images", "masks"):
        shutil.copytree(study.parent / name, folder / name)
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def an_image(folder: Path) -> str:
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(folder / "odd.png")
    return "odd.png"


def truncated(folder: Path) -> str:
    write_nifti(
        folder / "odd.nii.gz", np.random.default_rng(0).integers(0, 255, (1, 28, 28, 28)).astype(np.uint8), None
    )
    (folder / "odd.nii.gz").write_bytes((folder / "odd.nii.gz").read_bytes()[:4000])
    return "odd.nii.gz"


def two_channels(folder: Path) -> str:
    write_nifti(folder / "odd.nii.gz", np.zeros((2, 28, 28, 28), np.uint8), None)
    return "odd.nii.gz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (an_image, "is an image of 28 x 28 pixels; a volume was expected"),
        (truncated, "cannot be decoded"),
        (two_channels, "holds 2 channels; 1 were expected"),
    ],
)
def test_an_odd_file_among_volumes_is_one_message(study, tmp_path, capsys, make, message):
    labels = another(study, tmp_path)
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    table.loc[len(table) - 1, "path"] = make(tmp_path)
    table.to_csv(labels, index=False)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("channels: 1\n")
    assert main(["train", str(labels), "--out", str(tmp_path / "run"), "--recipe", str(recipe), *QUICK]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "odd" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run/model").exists()


def test_a_mask_of_another_shape_is_one_message(run, study, tmp_path, capsys):
    labels = another(study, tmp_path)
    write_nifti(tmp_path / "odd.nii.gz", np.ones((1, 5, 5, 5), np.uint8), None)
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    table["mask_nodule"] = "odd.nii.gz"
    table.to_csv(labels, index=False)
    known = ["--accept", "patient-across-splits"]
    assert main(["explain", str(run), str(labels), "--out", str(tmp_path / "out"), *known]) == 2
    said = capsys.readouterr().err
    assert "the mask has 5 x 5 x 5 pixels" in said
    assert "in its image's own grid" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "resnet18"], "takes images, and those of this study are volumes"),
        (["--model", "densenet121-3d", "--shape", "64,64,24"], "at least 32 voxels"),
        (["--spacing", "1,1,1"], "spacing needs a shape"),
        (["--shape", "64,64"], "three whole numbers"),
        (["--shape", "64,64,64", "--size", "64"], "not both"),
    ],
)
def test_settings_that_do_not_go_together_are_one_message(study, tmp_path, capsys, options, message):
    assert main(["run", str(study), "--out", str(tmp_path / "x"), "--dry-run", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_net_of_images_says_what_to_do_with_a_volume(study, tmp_path, capsys):
    folder = tmp_path / "flat"
    flat = phantom_study(folder, patients=12, images=24, size=28)
    assert main(["train", str(flat), "--out", str(tmp_path / "run"), "--model", "small-residual-3d", *QUICK]) == 2
    assert "takes volumes, and those of this study are images" in capsys.readouterr().err
