"""Mirrored by default only where sides are alike and no label suffers; what a user says stands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusmap.cli import main
from focusmap.fitting import frozen
from focusmap.fitting.mirroring import Sides, mirroring_of_folds, told_apart
from focusmap.study import Augmentation, Recipe, load_cohort, read_recipe, recipe_from

N = 240
FOLDS = np.arange(N) % 4


def pairs(heart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of images whose first one says how far right the heart lies, and of their mirror images."""
    rng = np.random.default_rng(seed)
    images, other = rng.normal(size=(2, N, 60))
    side = heart + rng.normal(size=N)
    images[:, 0], other[:, 0] = side, -side
    return images, other


def test_a_heart_is_told_and_chance_is_not() -> None:
    with_heart, without = (told_apart(*pairs(heart), FOLDS, np.arange(N)) for heart in (2.0, 0.0))
    assert with_heart.told_apart > 0.8
    assert not with_heart.are_alike
    assert 0.4 < without.told_apart < 0.65
    assert without.are_alike


def test_few_patients_are_less_sure() -> None:
    """The same answers of fewer patients have a higher limit: what is not known is not mirrored."""
    many, few = (told_apart(*pairs(0.3), FOLDS, patients) for patients in (np.arange(N), np.arange(N) // 40))
    assert many.told_apart == few.told_apart
    assert few.high > many.high
    assert not few.are_alike


def study(folder: Path, *, by_side: bool) -> Path:
    """Write images with one bright spot, left or right by chance; the label says its side, or whether it is large."""
    rng, rows = np.random.default_rng(5), ["path,patient_id,large"]
    folder.mkdir()
    for k in range(120):
        right, large = rng.random(2) < 0.5
        pixels = rng.normal(90, 8, (64, 64))
        half = 9 if large else 4
        column = 47 if right else 17
        pixels[32 - half : 32 + half, column - half : column + half] += 110
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
        rows.append(f"{k}.png,p{k},{int(right if by_side else large)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.mark.parametrize("by_side", [False, True])
@pytest.mark.slow
def test_a_run_mirrors_unless_a_label_names_a_side(tmp_path: Path, small_ladder: None, by_side: bool) -> None:
    labels, out = study(tmp_path / "study", by_side=by_side), tmp_path / "run"
    more = ("--budget", "0.001", "--baseline", "none", "--workers", "1")
    assert main(["train", str(labels), "--out", str(out), *more]) == 0
    found = json.loads((out / "ladder.json").read_text())["mirror"]
    assert found["mirrored"] == (not by_side)
    assert found["reason"] == ("labels-suffer" if by_side else "alike")
    assert found["told_apart"] < 0.7
    assert read_recipe(out / "rungs/probe/recipe.yaml").augmentation.mirror == (not by_side)
    assert main(["evaluate", str(out)]) == main(["report", str(out)]) == 0
    told = "Mirrored images: no" if by_side else "Mirrored images: yes"
    assert told in (out / "report.html").read_text()
    assert len(json.loads((out / "model/model.json").read_text()).get("tta", [])) == (0 if by_side else 2)


@pytest.mark.slow
def test_each_image_is_measured_once(tmp_path: Path, small_ladder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever asks first: what decides about mirroring, the probe, its tuning and its test predictions."""
    seen = dict[bool, list[str]]({False: [], True: []})
    measured = frozen.measure_each_change

    def watched(net, samples, preparation, progress, changes, n_images):
        seen[changes == [frozen.mirrored_images]].extend(samples.rows.image_ids)
        return measured(net, samples, preparation, progress, changes, n_images)

    monkeypatch.setattr(frozen, "measure_each_change", watched)
    labels, out = study(tmp_path / "study", by_side=False), tmp_path / "run"
    more = ("--budget", "0.001", "--baseline", "none", "--workers", "1")
    assert main(["train", str(labels), "--out", str(out), *more]) == 0
    for ids in seen.values():
        assert sorted(ids) == sorted(load_cohort(out).image_ids)
    kept = [np.load(file) for file in out.rglob("features-*.npy")]
    assert len(kept) == 2
    assert not any(np.isnan(features).any() for features in kept)


def test_folds_say_how_many_of_them_mirror() -> None:
    ladders = [{"mirror": {"mirrored": on, "reason": "alike" if on else "labels-suffer"}} for on in (True, False, True)]
    assert mirroring_of_folds(ladders) == {"mirrored": True, "reason": "alike", "n_folds": 3, "n_mirrored": 2}
    assert mirroring_of_folds([{}]) == {"n_folds": 0, "n_mirrored": 0}


@pytest.mark.slow
def test_what_a_user_or_a_preset_says_stands(tmp_path: Path, small_ladder: None) -> None:
    (tmp_path / "off.yaml").write_text("augmentation:\n  mirror: false\n")
    labels, out = study(tmp_path / "study", by_side=False), tmp_path / "run"
    more = ("--budget", "0.001", "--baseline", "none", "--workers", "1", "--recipe", str(tmp_path / "off.yaml"))
    assert main(["train", str(labels), "--out", str(out), *more]) == 0
    assert json.loads((out / "ladder.json").read_text())["mirror"] == {"mirrored": False, "reason": "given"}
    assert recipe_from({"preset": "chest-xray"}).augmentation.mirror is False
    assert recipe_from({"preset": "chest-xray", "augmentation": {"shift": 0.1}}).augmentation.mirror is False


def test_the_choice_is_written_and_read_back(tmp_path: Path) -> None:
    for mirror in (None, True, False):
        recipe = replace(Recipe(), augmentation=Augmentation(mirror=mirror))
        recipe.to_yaml(tmp_path / "recipe.yaml")
        assert read_recipe(tmp_path / "recipe.yaml") == recipe
    said = str(Sides(0.61, 0.66, 300, 280))
    assert said.startswith("an image is distinguished from its mirror image in 61 % (upper limit 66 %)")
