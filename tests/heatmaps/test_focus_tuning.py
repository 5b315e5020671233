"""Softness and cuts are chosen on true positives of tune alone; focus maps and their regions are written as shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.evaluation import Explained, FrozenThresholds, MapOnMask, MapThreshold, Reference, score_maps
from focusmap.evaluation.localisation.measures import iou_at
from focusmap.evaluation.localisation.summary import ScoreOptions
from focusmap.fitting.map_thresholds import STRONGEST, tune_focus_maps, with_map_thresholds
from focusmap.heatmaps.map_files import Item
from focusmap.heatmaps.methods import choose_method
from focusmap.heatmaps.write import ExplainOptions
from focusmap.images import read_map
from focusmap.models import Model, load_model, read_card
from focusmap.models.ensemble import combine
from focusmap.models.folder import save_model
from focusmap.models.net import over_views
from focusmap.nets import AS_IT_IS, Architecture, Ensemble, FocusNet, PoolingOptions, View, build_net
from focusmap.nets.focus_net import FocusLayers
from focusmap.nets.pooling import Maximum
from focusmap.study import Cohort, Target, Task, read_cohort
from support.maps import explain
from support.models import model_of

SIDE = 32
GAIN = 12.0


class Seen(nn.Module):
    """In place of a decoder: by how much 2 x 2 pixels exceed 1, of a backbone that hands the image out."""

    n_features = 1

    def forward(self, levels: list[Tensor]) -> Tensor:
        return nn.functional.avg_pool2d(levels[0], 2).clamp(min=1) - 1


class Handed(nn.Module):
    def forward_intermediates(self, x: Tensor, *_: list[int], **__: bool) -> list[Tensor]:
        return [x]


def spot_model() -> Model:
    """A model whose first label is a bright spot; the second is never predicted; the third is a value."""
    task = Task((Target("spot"), Target("never"), Target("size", "continuous")))
    net = FocusNet(Handed(), 1, 3, FocusLayers(Seen(), (0,), Maximum(), 3)).eval()
    with torch.no_grad():
        net.head.weight[:] = torch.tensor([[GAIN], [0.0], [1.0]])
        net.head.bias[:] = torch.tensor([-3.0, -9.0, 0.0])
    return Model(net, replace(model_of().card, task=task, thresholds={}, temperatures={}, scales={"size": [5.0, 2.0]}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, a spot of 8 x 8 pixels in all but the last; masks of the first three."""
    rng, rows = np.random.default_rng(0), ["path,patient,spot,never,size,mask_spot"]
    for i in range(6):
        pixels, mask = rng.normal(100, 2, (SIDE, SIDE)), np.zeros((SIDE, SIDE), np.uint8)
        if i < 5:
            mask[4 + 3 * i : 12 + 3 * i, 10:18] = 255
            pixels += mask / 255 * 100
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / f"mask{i}.png")
        rows.append(f"{i}.png,p{i},{int(i < 5)},{int(i == 0)},{i}.5,{f'mask{i}.png' if i < 3 else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def cohort_of(folder: Path) -> Cohort:
    from focusmap.study import Declaration

    said = Declaration(targets=("spot", "never", "size:continuous"))
    return read_cohort(folder / "labels.csv", said)


def items_of(folder: Path) -> list[Item]:
    return [Item(f"{i}.png", f"{i}.png", folder / f"{i}.png") for i in range(6)]


def test_masks_choose_the_cut_and_are_counted(folder):
    model = tune_focus_maps(spot_model(), Reference(cohort_of(folder)))
    spot = model.card.map_thresholds["spot"]
    assert (spot.rule, spot.n_images, spot.n_masks) == ("masks", 5, 3)
    assert model.card.map_thresholds["never"] == MapThreshold(0.5, "default")
    assert model.card.map_thresholds["size"] == MapThreshold(0.5, "default")


def test_without_masks_the_region_that_keeps_the_evidence_is_the_spot(folder):
    cohort = cohort_of(folder)
    blind = replace(cohort, table=cohort.table.drop(columns=[c for c in cohort.table if c.startswith("mask")]))
    blind = replace(blind, study=replace(cohort.study, mask_column=None))
    model = tune_focus_maps(spot_model(), Reference(blind))
    spot = model.card.map_thresholds["spot"]
    assert (spot.rule, spot.n_images, spot.n_masks) == ("evidence", 5, 0)
    index = explain(model, items_of(folder), folder / "out", ExplainOptions("focus")).index
    for i in range(5):
        row = index[(index["image_id"] == f"{i}.png") & (index["target"] == "spot")].iloc[0]
        mask = np.asarray(Image.open(folder / f"mask{i}.png")) > 0
        assert iou_at(MapOnMask.of(read_map(folder / "out" / row["map"]), mask), spot.value) > 0.6


def test_the_strongest_places_are_softened_to_the_same_value_on_average(folder):
    model = spot_model()
    with torch.no_grad():
        hard = [float(model.net.forward_with_focus(torch.full((1, 1, 8, 8), 3.0))[1].max())]
    assert hard == [1.0], "a plain sigmoid would leave a flat map"
    model = tune_focus_maps(model, Reference(cohort_of(folder)))
    index = explain(model, items_of(folder), folder / "out", ExplainOptions("focus")).index
    rows = index[(index["target"] == "spot") & index["predicted"]]
    highest = [read_map(folder / "out" / name).max() for name in rows["map"]]
    assert np.mean([np.log(m / (1 - m)) for m in highest]) == pytest.approx(STRONGEST, rel=0.05)


def test_a_label_that_is_not_predicted_has_an_empty_map_and_region(folder):
    model = tune_focus_maps(spot_model(), Reference(cohort_of(folder)))
    explain(model, items_of(folder), folder / "out", ExplainOptions("focus"))
    index = pd.read_csv(folder / "out/index.csv")
    absent = index[~index["predicted"]]
    assert set(absent["target"]) == {"spot", "never"}
    assert len(absent) == 7
    for row in absent.to_dict("records"):
        assert not row["has_evidence"]
        assert not read_map(folder / "out" / row["map"]).any()
        assert not np.asarray(Image.open(folder / "out" / row["binary"])).any()


@pytest.mark.parametrize("method", ["focus", "focus@mirror", "cam"])
def test_an_overlay_says_that_a_label_was_not_predicted_where_that_is_why_it_has_no_map(folder, monkeypatch, method):
    drawn = []
    monkeypatch.setattr("focusmap.heatmaps.overlays.draw_overlay", lambda _, overlay: drawn.append(overlay))
    explain(spot_model(), items_of(folder)[:1], folder / "out", ExplainOptions(method))
    said = [overlay.absent for overlay in drawn if overlay.heat_map is None]
    assert set(said) == {"no evidence" if method == "cam" else "not predicted: no map"}


def test_regions_are_the_maps_at_the_cut_in_the_images_own_grid_and_are_scored(folder):
    reference = Reference(cohort_of(folder))
    model = tune_focus_maps(spot_model(), reference)
    explain(model, items_of(folder), folder / "out", ExplainOptions("focus", reference=reference))
    index = pd.read_csv(folder / "out/index.csv")
    for row in index.to_dict("records"):
        region = np.asarray(Image.open(folder / "out" / row["binary"]))
        heat_map = read_map(folder / "out" / row["map"])
        assert heat_map.min() >= 0
        assert heat_map.max() <= 1
        np.testing.assert_array_equal(region > 0, heat_map >= model.card.map_thresholds[row["target"]].value)
        assert region.shape == (SIDE, SIDE)
    cuts = FrozenThresholds("focus", {"spot": model.card.map_thresholds["spot"].value}, n_masks=3)
    explained = Explained(folder / "out", reference, reference, cuts)
    scores = score_maps([explained], folder / "scores.json", ScoreOptions(n_resamples=20))
    assert scores["methods"]["focus"]["iou_at_cut"]["value"] > 0.6
    assert scores["methods"]["focus"]["iou_at_cut"]["value"] > scores["methods"]["centre"]["iou_at_cut"]["value"]
    assert scores["masks_used_for_tuning"] == 3


def test_a_focus_model_is_loaded_as_it_was_saved_and_an_older_card_is_still_read(tmp_path):
    architecture = Architecture("small-residual-pan", 1, 2, PoolingOptions("attention"))
    card = replace(
        model_of().card,
        architecture=architecture.to_dict(),
        map_thresholds={"nodule": MapThreshold(0.3, "masks", 9, 4)},
    )
    net = build_net(architecture).eval()
    net.focus.softness.fill_(2.5)
    saved = save_model(Model(net, card), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.card == saved.card
    x = torch.randn(1, 1, 32, 32)
    for mine, theirs in zip(loaded.net.forward_with_focus(x), net.forward_with_focus(x), strict=True):
        assert torch.equal(mine, theirs)
    written = json.loads((tmp_path / "model/model.json").read_text())
    del written["cuts"]
    (tmp_path / "old.json").write_text(json.dumps(written))
    assert read_card(tmp_path / "old.json") == replace(saved.card, map_thresholds={})


def test_the_cut_of_an_ensemble_is_that_of_its_mean_map_and_members_keep_their_softness(folder):
    reference = Reference(cohort_of(folder))
    soft, hard = tune_focus_maps(spot_model(), reference), spot_model()
    ensemble = combine([soft, hard], [AS_IT_IS], "seeds")
    assert ensemble.card.map_thresholds == {}
    before = [net.focus.softness.clone() for net in ensemble.nets]
    ensemble = tune_focus_maps(ensemble, reference)
    assert all(torch.equal(net.focus.softness, kept) for net, kept in zip(ensemble.nets, before, strict=True))
    assert ensemble.card.map_thresholds["spot"].n_masks == 3
    drawn = []
    for name, model in (("both", ensemble), ("soft", soft), ("hard", hard)):
        explain(model, items_of(folder)[:1], folder / name, ExplainOptions("focus", ("spot",)))
        drawn.append(read_map(folder / name / "maps/0.spot.npz"))
    np.testing.assert_allclose(drawn[0], (drawn[1] + drawn[2]) / 2, atol=1e-5)


def test_views_of_one_net_are_softened_and_cut_together(folder):
    reference = Reference(cohort_of(folder))
    plain, mirrored = tune_focus_maps(spot_model(), reference), over_views(spot_model(), [AS_IT_IS, View(mirror=True)])
    mirrored = tune_focus_maps(mirrored, reference)
    assert torch.equal(mirrored.nets[0].focus.softness, plain.net.focus.softness)
    assert mirrored.card.map_thresholds["spot"].value == pytest.approx(plain.card.map_thresholds["spot"].value, rel=0.3)


def test_the_cuts_of_folds_are_chosen_on_all_their_tune_parts(folder):
    cohort = cohort_of(folder)
    halves = [Reference(cohort.of(cohort.image_ids[part])) for part in (slice(0, 3), slice(3, 6))]
    folds = [tune_focus_maps(spot_model(), half) for half in halves]
    model = with_map_thresholds(combine(folds, [AS_IT_IS], "folds"), list(zip(folds, halves, strict=True)))
    assert [fold.card.map_thresholds["spot"].n_images for fold in folds] == [3, 2]
    assert (model.card.map_thresholds["spot"].rule, model.card.map_thresholds["spot"].n_images) == ("masks", 5)


def test_the_default_method_is_the_nets_own_and_focus_is_refused_without_evidence():
    focus, plain = build_net(Architecture("small-residual-fpn", 1, 1)), build_net(Architecture("small-residual", 1, 1))
    assert choose_method(None, focus) == "focus"
    assert choose_method(None, plain) == "cam"
    assert choose_method("cam", focus) == "cam"
    assert choose_method(None, Ensemble([focus])) == "focus"
    with pytest.raises(InputError, match="needs a net with evidence at every place"):
        choose_method("focus", Ensemble([plain]))
    with pytest.raises(InputError, match="needs a net with evidence at every place"):
        choose_method("focus", plain)
    with pytest.raises(InputError, match="Did you mean 'focus'"):
        choose_method("focsu", focus)
