"""Explaining files writes maps in the image's own grid, finds a planted lesion, and goes on after a bad file."""

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
from focusmap.evaluation import Explained, Reference, score_maps
from focusmap.evaluation.localisation.summary import ScoreOptions
from focusmap.heatmaps.map_files import INDEX_COLUMNS, Item, MapNames, write_map
from focusmap.heatmaps.methods import METHODS
from focusmap.heatmaps.overlays import read_scale, write_scale
from focusmap.heatmaps.view import predicted_labels
from focusmap.heatmaps.write import ExplainOptions
from focusmap.images import read_map
from focusmap.models import Model
from focusmap.nets import FocusNet
from focusmap.study import Target, Task, read_cohort
from support.mapped_nets import Brightness
from support.maps import evidence_of, explain
from support.models import model_of

OF_ANY_NET = [*(name for name, method in METHODS.items() if method.need is None), "gradcam@mirror,moves"]


class DarkRim(nn.Module):
    """The feature of a net that sees the outermost rows of the square only."""

    def forward(self, x: Tensor) -> Tensor:
        features = torch.zeros(len(x), 1, 8, 8)
        features[:, :, [0, -1]] = 1.0
        return features


def bright_spot_model(*targets: Target) -> Model:
    """A model whose first label is a bright spot, the second that there is none."""
    net = FocusNet(Brightness(), 1, 2).eval()
    with torch.no_grad():
        net.head.weight[:] = torch.tensor([[40.0], [-40.0]])
        net.head.bias[:] = torch.tensor([-1.0, 1.0])
    card = replace(model_of().card, task=Task(targets), thresholds={}, temperatures={}, scales={})
    return Model(net, card)


TWO = (Target("bright"), Target("plain"))


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Four wide images of noise; a bright spot of 12 x 12 pixels in the first two, none in the others."""
    rng, found = np.random.default_rng(0), []
    for i in range(4):
        pixels = rng.normal(100, 2, (48, 96))
        if i < 2:
            pixels[12:24, 60 + 12 * i : 72 + 12 * i] += 100
        file = tmp_path / "images" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        found.append(Item(f"images/{i}.png", f"images/{i}.png", file))
    return found


def test_maps_lie_in_the_source_grid_and_point_at_the_planted_spot(items, tmp_path):
    explained = explain(bright_spot_model(*TWO), items, tmp_path / "out", ExplainOptions(batch_size=3))
    index = pd.read_csv(tmp_path / "out/index.csv")
    assert list(index.columns) == INDEX_COLUMNS
    assert list(index["image_id"]) == [item.image_id for item in items for _ in TWO]
    assert len(explained.index) == len(index) == 8
    for i in range(2):
        row = index[(index["image_id"] == f"images/{i}.png") & (index["target"] == "bright")].iloc[0]
        with np.load(tmp_path / "out" / row["map"]) as stored:
            heat_map = stored["map"]
        assert heat_map.dtype == np.float32
        assert heat_map.shape == (48, 96)
        rows, columns = np.unravel_index(heat_map.argmax(), heat_map.shape)
        assert 12 <= rows < 24
        assert 60 + 12 * i <= columns < 72 + 12 * i
        assert row["predicted"]
        assert row["has_evidence"]
        assert Image.open(tmp_path / "out" / row["overlay"]).width > 96


def test_a_map_without_evidence_is_said_to_have_none(items, tmp_path):
    explained = explain(bright_spot_model(*TWO), items, tmp_path / "out")
    shown = explained.index.pivot_table(index="image_id", columns="target", values="has_evidence")
    assert shown["bright"].tolist() == [1, 1, 0, 0]
    assert shown["plain"].tolist() == [0, 0, 0, 0]
    assert explained.scale["plain"] == 1.0


def test_an_unreadable_file_is_reported_and_the_others_go_on(items, tmp_path):
    (tmp_path / "images/text.png").write_text("not an image")
    bad = Item("text", "images/text.png", tmp_path / "images/text.png")
    gone = Item("gone", "images/gone.png", tmp_path / "images/gone.png")
    explained = explain(bright_spot_model(*TWO), [bad, items[0], gone, items[3]], tmp_path / "out")
    assert [one.image_id for one in explained.failures] == ["text", "gone"]
    assert "text.png" in explained.failures[0].reason
    assert explained.index["image_id"].nunique() == 2


def test_only_the_targets_named_are_explained_and_an_unknown_one_is_refused(items, tmp_path):
    options = ExplainOptions(targets=("plain",))
    assert set(explain(bright_spot_model(*TWO), items, tmp_path / "out", options).index["target"]) == {"plain"}
    with pytest.raises(InputError, match="Did you mean 'plain'"):
        explain(bright_spot_model(*TWO), items, tmp_path / "out", ExplainOptions(targets=("plian",)))


def test_the_size_of_a_batch_changes_nothing(items, tmp_path):
    for size in (1, 4):
        explain(bright_spot_model(*TWO), items, tmp_path / str(size), ExplainOptions(batch_size=size))
    one, four = (pd.read_csv(tmp_path / name / "index.csv") for name in ("1", "4"))
    pd.testing.assert_frame_equal(one, four)
    for name in one["map"]:
        np.testing.assert_allclose(read_map(tmp_path / "1" / name), read_map(tmp_path / "4" / name), atol=1e-5)


def test_grad_cam_is_the_positive_part_of_cam_and_is_drawn_on_the_same_scale(items, tmp_path):
    model = bright_spot_model(*TWO)
    cam = explain(model, items[:1], tmp_path / "cam")
    gradcam = explain(model, items[:1], tmp_path / "gradcam", ExplainOptions(method="gradcam"))
    assert gradcam.scale["bright"] == pytest.approx(cam.scale["bright"], rel=1e-5)
    evidence = evidence_of(model, items[:1], "cam", [1])
    assert evidence.maps.shape == (1, 1, 8, 8)
    name = cam.index["map"].iloc[0]
    assert read_map(tmp_path / "gradcam" / name).min() == 0
    assert read_map(tmp_path / "cam" / name).max() == pytest.approx(
        64 * read_map(tmp_path / "gradcam" / name).max(), rel=1e-5
    )


def test_a_scale_once_made_serves_later_images(items, tmp_path):
    model = bright_spot_model(*TWO)
    first = explain(model, items, tmp_path / "run")
    assert (
        read_scale(tmp_path / "run", "cam")
        == first.scale
        == json.loads((tmp_path / "run/scale.json").read_text())["ends"]
    )
    later = explain(model, items[3:], tmp_path / "one", ExplainOptions(like=tmp_path / "run"))
    assert later.scale == first.scale
    assert read_scale(tmp_path / "nowhere", "cam") == {}


def test_a_scale_serves_only_maps_of_its_own_unit(items, tmp_path):
    explained = explain(bright_spot_model(*TWO), items, tmp_path)
    for method in ("gradcam", "hirescam", "integrated-gradients"):
        assert read_scale(tmp_path, method) == explained.scale
    for method in ("gradcam++", "gradients", "occlusion"):
        assert read_scale(tmp_path, method) == {}


@pytest.mark.parametrize("method", OF_ANY_NET)
def test_every_method_writes_maps_in_the_source_grid_that_point_at_the_planted_spot(items, tmp_path, method):
    explained = explain(bright_spot_model(*TWO), items, tmp_path, ExplainOptions(method, ("bright",)))
    assert explained.index["method"].eq(method).all()
    assert explained.index["has_evidence"].tolist() == [True, True, False, False]
    assert list(explained.scale) == ["bright"]
    for i in range(2):
        heat_map = read_map(tmp_path / explained.index["map"][i])
        assert heat_map.shape == (48, 96)
        spot = np.zeros(heat_map.shape, bool)
        spot[12:24, 60 + 12 * i : 72 + 12 * i] = True
        shown = heat_map.clip(min=0)
        assert shown[spot].mean() > 4 * shown[~spot].mean()


def test_evidence_and_what_is_shown_do_not_depend_on_the_method(items, tmp_path):
    model = bright_spot_model(*TWO)
    found = [explain(model, items, tmp_path / name, ExplainOptions(name)).index for name in OF_ANY_NET]
    for index in found[1:]:
        np.testing.assert_allclose(index["evidence"], found[0]["evidence"], rtol=1e-6)
        assert index["has_evidence"].tolist() == found[0]["has_evidence"].tolist()


def test_a_label_without_evidence_has_no_scale_in_a_unit_without_a_least_value(items, tmp_path):
    explained = explain(bright_spot_model(*TWO), items, tmp_path, ExplainOptions("gradients"))
    assert list(explained.scale) == ["bright"]
    assert set(explained.index["target"]) == {"bright", "plain"}


def test_the_colour_bar_names_the_unit_of_the_method(items, tmp_path):
    model = bright_spot_model(*TWO)
    for method in ("cam", "gradients"):
        write_scale(tmp_path / f"like-{method}", method, {"bright": 1.0})
        explain(
            model, items[:1], tmp_path / method, ExplainOptions(method, ("bright",), like=tmp_path / f"like-{method}")
        )
    cam, gradients = (
        np.asarray(Image.open(next((tmp_path / name).glob("overlays/*.png")))) for name in ("cam", "gradients")
    )
    bar = np.s_[40:-40, -40:]
    assert not np.array_equal(cam[bar], gradients[bar])


def test_a_multiclass_target_has_one_map_a_class_and_one_prediction(items, tmp_path):
    model = bright_spot_model(Target("spot", "multiclass", ("bright", "plain")))
    index = explain(model, items, tmp_path / "out").index
    assert set(index["target"]) == {"spot=bright", "spot=plain"}
    assert (index.groupby("image_id")["predicted"].sum() == 1).all()
    assert index["map"].iloc[0] == "maps/images_0.spot=bright.npz"


def test_thresholds_decide_what_is_predicted():
    model = bright_spot_model(*TWO)
    model = replace(model, card=replace(model.card, thresholds={"bright": 0.2}))
    assert predicted_labels(model.card, np.array([[0.2, 0.2], [0.1, 0.5]])).tolist() == [[True, False], [False, True]]


def test_a_continuous_target_is_mapped_in_its_own_units(items):
    model = bright_spot_model(Target("bright"), Target("size", "continuous"))
    plain = evidence_of(model, items[:1], "cam", [0, 1])
    scaled = evidence_of(
        replace(model, card=replace(model.card, scales={"size": [10.0, 2.0]})), items[:1], "cam", [0, 1]
    )
    np.testing.assert_allclose(scaled.maps[:, 0], plain.maps[:, 0])
    np.testing.assert_allclose(scaled.maps[:, 1], 2 * plain.maps[:, 1])
    assert scaled.units.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("method", "bar"), [("cam", "evidence (in the target's unit)"), ("eigencam", "relevance (no unit)")]
)
def test_an_overlay_of_a_continuous_target_speaks_of_its_unit_and_not_of_logits(
    items, tmp_path, monkeypatch, method, bar
):
    drawn = []
    monkeypatch.setattr("focusmap.heatmaps.overlays.draw_overlay", lambda _, overlay: drawn.append(overlay))
    model = bright_spot_model(Target("size", "continuous"), Target("plain"))
    model = replace(model, card=replace(model.card, scales={"size": [10.0, 2.0]}))
    explained = explain(model, items[:1], tmp_path, ExplainOptions(method))
    size, plain = drawn
    assert size.caption.startswith(f"size {explained.index['probability'][0]:.2f} (in the target's unit)")
    assert plain.caption.endswith("predicted)   images/0.png")
    assert size.unit == bar
    if method == "cam":
        assert plain.unit == "evidence (logit units)"
        written = read_map(tmp_path / explained.index["map"][0])
        np.testing.assert_allclose(size.heat_map, written, rtol=1e-6)
        assert size.vmax == pytest.approx(2 * explained.scale["size"])


def test_evidence_in_the_padding_alone_is_not_shown(items, tmp_path):
    """A wide image fills the middle of the square; a net that looks above and below it has nothing to show."""
    model = bright_spot_model(*TWO)
    net = FocusNet(DarkRim(), 1, 2).eval()
    net.head.load_state_dict(model.net.head.state_dict())
    row = explain(replace(model, net=net), items[2:3], tmp_path / "out").index.iloc[0]
    assert row["evidence"] > 1
    assert not row["has_evidence"]
    assert read_map(tmp_path / "out" / row["map"]).max() <= 0


def test_what_was_explained_is_scored_where_masks_exist(items, tmp_path):
    rows = ["path,patient,bright,plain,mask_bright"]
    for i, item in enumerate(items):
        mask = np.zeros((48, 96), np.uint8)
        if i < 2:
            mask[12:24, 60 + 12 * i : 72 + 12 * i] = 255
        Image.fromarray(mask).save(tmp_path / f"mask{i}.png")
        rows.append(f"{item.path},p{i},{int(i < 2)},{int(i > 1)},mask{i}.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    reference = Reference(read_cohort(tmp_path / "labels.csv"))
    explain(bright_spot_model(*TWO), items, tmp_path / "out", ExplainOptions(reference=reference))
    explained = Explained(tmp_path / "out", reference, train=reference)
    scores = score_maps([explained], tmp_path / "scores.json", ScoreOptions(n_resamples=20))
    assert set(scores["by_target"]) == {"bright"}
    assert scores["methods"]["cam"]["pointing_hit"]["value"] == 1
    assert scores["methods"]["cam"]["iou"]["value"] > 0.4
    assert scores["methods"]["centre"]["pointing_hit"]["value"] == 0


def test_names_of_different_images_never_meet(tmp_path):
    names = MapNames()
    given = [names.name(text) for text in ("a/b.png", "a_b.png", "a_b-2", "A_B", "/x/a_b.jpg", "." * 300)]
    assert len({name.lower() for name in given}) == len(given)
    assert all(0 < len(name) < 140 and "/" not in name for name in given)


def test_a_map_reads_back_equal_and_another_file_is_refused(tmp_path):
    heat_map = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    write_map(tmp_path / "a.npz", heat_map)
    np.testing.assert_array_equal(read_map(tmp_path / "a.npz"), heat_map)
    (tmp_path / "b.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"b\.npz: is not a heat map"):
        read_map(tmp_path / "b.npz")
