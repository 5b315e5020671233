"""Softness and cuts are chosen on true positives of tune alone; focus maps and their regions are written as shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_model import model_of
from torch import Tensor, nn

from focusmap.cohort.cohort import Cohort, read_cohort
from focusmap.errors import InputError
from focusmap.heatmaps import choose_method, focus_maps
from focusmap.inference.ensemble import combine
from focusmap.inference.evidence import Item
from focusmap.inference.explain import ExplainOptions, explain
from focusmap.inference.focus_tuning import STRONGEST, tuned
from focusmap.inference.map_files import read_map
from focusmap.inference.model import Model, load_model, save_model
from focusmap.localisation import Explained, FrozenCuts, MapOnMask, Reference, ScoreOptions, iou_at, score_maps
from focusmap.nets.build import Architecture, FocusNet, build_net
from focusmap.nets.focus import FocusLayers
from focusmap.nets.pooling import Maximum, PoolingOptions
from focusmap.nets.views import AS_IT_IS
from focusmap.values.model_card import FocusCut, read_card
from focusmap.values.task import Target, Task

SIDE = 32
GAIN = 12.0


class Seen(nn.Module):
    """In place of a decoder: by how much 2 x 2 pixels exceed 1, of a backbone that hands the picture out."""

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


def pair_of_models() -> tuple[Model, Model]:
    """Two models of spots, one of which answers half as strongly."""
    first, second = spot_model(), spot_model()
    with torch.no_grad():
        second.net.head.weight.mul_(0.5)
    return first, second


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, a spot of 8 x 8 pixels in all but the last; masks of the first three."""
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
    from focusmap.cohort.declaration import Declaration

    said = Declaration(targets=("spot", "never", "size:continuous"))
    return read_cohort(folder / "labels.csv", said)


def items_of(folder: Path) -> list[Item]:
    return [Item(f"{i}.png", f"{i}.png", folder / f"{i}.png") for i in range(6)]


def test_masks_choose_the_cut_and_are_counted(folder):
    model = tuned(spot_model(), Reference(cohort_of(folder)))
    spot = model.card.cuts["spot"]
    assert (spot.rule, spot.n_images, spot.n_masks) == ("masks", 5, 3)
    assert model.card.cuts["never"] == FocusCut(0.5, "default")
    assert model.card.cuts["size"] == FocusCut(0.5, "default")


def test_without_masks_the_region_that_keeps_the_evidence_is_the_spot(folder):
    cohort = cohort_of(folder)
    blind = replace(cohort, table=cohort.table.drop(columns=[c for c in cohort.table if c.startswith("mask")]))
    blind = replace(blind, study=replace(cohort.study, mask_column=None))
    model = tuned(spot_model(), Reference(blind))
    spot = model.card.cuts["spot"]
    assert (spot.rule, spot.n_images, spot.n_masks) == ("evidence", 5, 0)
    index = explain(model, items_of(folder), folder / "out", ExplainOptions("focus")).index
    for i in range(5):
        row = index[(index["image_id"] == f"{i}.png") & (index["target"] == "spot")].iloc[0]
        mask = np.asarray(Image.open(folder / f"mask{i}.png")) > 0
        heat_map = read_map(folder / "out" / row["map"])
        assert iou_at(MapOnMask.of(heat_map, mask), spot.cut) > 0.6


def test_the_strongest_places_are_softened_to_the_same_value_on_average(folder):
    model = spot_model()
    with torch.no_grad():
        hard = [float(model.net.forward_with_focus(torch.full((1, 1, 8, 8), 3.0))[1].max())]
    assert hard == [1.0], "a plain sigmoid would leave a flat map"
    model = tuned(model, Reference(cohort_of(folder)))
    index = explain(model, items_of(folder), folder / "out", ExplainOptions("focus")).index
    rows = index[(index["target"] == "spot") & index["predicted"]]
    highest = [read_map(folder / "out" / name).max() for name in rows["map"]]
    assert np.mean([np.log(m / (1 - m)) for m in highest]) == pytest.approx(STRONGEST, rel=0.05)


def test_a_label_that_is_not_predicted_has_an_empty_map_and_region(folder):
    model = tuned(spot_model(), Reference(cohort_of(folder)))
    explain(model, items_of(folder), folder / "out", ExplainOptions("focus"))
    index = pd.read_csv(folder / "out/index.csv")
    absent = index[~index["predicted"]]
    assert set(absent["target"]) == {"spot", "never"}
    assert len(absent) == 7
    for row in absent.to_dict("records"):
        assert not row["has_evidence"]
        assert not read_map(folder / "out" / row["map"]).any()
        assert not np.asarray(Image.open(folder / "out" / row["binary"])).any()


def test_regions_are_the_maps_at_the_cut_in_the_pictures_own_grid_and_are_scored(folder):
    reference = Reference(cohort_of(folder))
    model = tuned(spot_model(), reference)
    explain(model, items_of(folder), folder / "out", ExplainOptions("focus", reference=reference))
    index = pd.read_csv(folder / "out/index.csv")
    for row in index.to_dict("records"):
        region = np.asarray(Image.open(folder / "out" / row["binary"]))
        heat_map = read_map(folder / "out" / row["map"])
        assert heat_map.min() >= 0
        assert heat_map.max() <= 1
        np.testing.assert_array_equal(region > 0, heat_map >= model.card.cuts[row["target"]].cut)
        assert region.shape == (SIDE, SIDE)
    cuts = FrozenCuts("focus", {label: cut.cut for label, cut in model.card.cuts.items()}, 3)
    explained = Explained(folder / "out", reference, train=reference, cuts=cuts)
    scores = score_maps([explained], folder / "scores.json", ScoreOptions(n_resamples=20))
    assert scores["methods"]["focus"]["iou_at_cut"]["value"] > 0.6
    assert scores["masks_used_for_tuning"] == 3


def test_a_focus_model_is_loaded_as_it_was_saved_and_an_older_card_is_still_read(tmp_path):
    architecture = Architecture("small-residual-pan", 1, 2, PoolingOptions("attention"))
    card = replace(model_of().card, architecture=architecture.to_dict(), cuts={"nodule": FocusCut(0.3, "masks", 9, 4)})
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
    assert read_card(tmp_path / "old.json") == replace(saved.card, cuts={})


def test_the_default_method_is_the_nets_own_and_focus_is_refused_without_evidence():
    assert spot_model().has_focus
    assert not model_of().has_focus
    assert choose_method(None, has_focus=True) == "focus"
    assert choose_method(None, has_focus=False) == "cam"
    assert choose_method("cam", has_focus=True) == "cam"
    with pytest.raises(InputError, match="needs a net with evidence at every place"):
        choose_method("focus", has_focus=False)
    with pytest.raises(InputError, match="Did you mean 'focus'"):
        choose_method("focsu", has_focus=True)


def test_an_ensembles_maps_are_the_means_of_its_members(folder):
    reference = Reference(cohort_of(folder))
    first, second = (replace(model, card=replace(model.card, thresholds={"spot": 0.5})) for model in pair_of_models())
    both = tuned(combine([tuned(first, reference), tuned(second, reference)], (AS_IT_IS,), "seeds"), reference)
    x = torch.randn(2, 1, SIDE, SIDE)
    maps = focus_maps(both.net.eval(), x, (0, 1, 2)).maps
    single = [net.forward_with_focus(x)[1].detach() for net in both.nets]
    torch.testing.assert_close(maps, (single[0] + single[1]) / 2)
    assert both.has_focus
    assert both.card.cuts["spot"].n_masks == 3
    untuned = combine([tuned(first, reference), tuned(second, reference)], (AS_IT_IS,), "folds").card.cuts["spot"]
    assert untuned.n_masks == 6
