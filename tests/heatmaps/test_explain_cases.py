"""Maps of cases lie on the image that carries the finding and not on the others; members and scales are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from focusmap.heatmaps.map_files import CASE_COLUMNS, INDEX_COLUMNS
from focusmap.heatmaps.write import ExplainOptions
from focusmap.images import read_map
from focusmap.models.cases import NET, CaseModel
from focusmap.models.ensemble import combine
from focusmap.nets import CaseArchitecture, CaseBackbone, FocusNet
from focusmap.nets.cases import Encoder
from focusmap.study import Cohort, Declaration, Target, Task, by_case, read_cohort
from support.mapped_nets import Brightness
from support.maps import evidence_in_rows, explain_rows
from support.models import model_of

VIEWS = ("post", "pre")


def bright_spot_model(weight: float = 40.0, pooling: str = "mean", scale: float | None = None) -> CaseModel:
    """A model that sees bright spots in any image; with `scale` its one target is continuous, of that deviation."""
    net = FocusNet(CaseBackbone([Encoder(Brightness(), 1, pooling)], 1, len(VIEWS)), 2 * len(VIEWS), 1).eval()
    with torch.no_grad():
        net.head.weight[:] = torch.tensor([[weight, 0.0, weight, 0.0]])
        net.head.bias.fill_(-1.0)
    target = Target("bright") if scale is None else Target("bright", "continuous")
    card = replace(
        model_of().card,
        task=Task((target,)),
        architecture={"model": "small-residual", NET: CaseArchitecture("small-residual", 1, 1, VIEWS).to_dict()},
        thresholds={},
        temperatures={},
        scales={} if scale is None else {"bright": [0.0, scale]},
    )
    return CaseModel(card, net)


@pytest.fixture
def cases(tmp_path: Path) -> Cohort:
    """Case A has two images of before and one of after, where the spot is; B has no spot."""
    rng, rows = np.random.default_rng(0), []
    for name in ("A_pre", "A_post", "A_pre2", "B_pre", "B_post"):
        pixels = rng.normal(100, 2, (48, 96))
        if name == "A_post":
            pixels[12:24, 60:72] += 100
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"images/{name}.png")
        eye, view = name.rstrip("2").split("_")
        rows.append((f"images/{name}.png", eye, eye, view, int(eye == "A")))
    table = pd.DataFrame(rows, columns=["path", "patient_id", "eye", "view", "bright"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    said = Declaration(targets=("bright",), case="eye", view="view")
    return by_case(read_cohort(tmp_path / "labels.csv", said))


def by_path(index: pd.DataFrame, name: str) -> pd.Series:
    return index[index["path"] == f"images/{name}.png"].iloc[0]


@pytest.mark.parametrize("method", ["cam", "gradcam", "occlusion", "integrated-gradients"])
def test_the_map_is_on_the_view_that_carries_the_finding_and_on_no_other(cases, tmp_path, method):
    out = tmp_path / "out"
    index = explain_rows(bright_spot_model(), cases, out, ExplainOptions(method)).index
    assert list(index.columns) == [*INDEX_COLUMNS, *CASE_COLUMNS]
    assert list(index["case_id"]) == ["A", "A", "A", "B", "B"]
    assert index["has_evidence"].tolist() == [False, True, False, False, False]
    found = by_path(index, "A_post")
    heat_map = read_map(out / found["map"])
    row, column = np.unravel_index(heat_map.argmax(), heat_map.shape)
    assert (12 <= row < 24, 60 <= column < 72) == (True, True)
    others = index[index["path"] != "images/A_post.png"]
    assert max(read_map(out / name).max() for name in others["map"]) < 0.05 * heat_map.max()
    assert all((out / name).is_file() for name in index["overlay"])


def test_every_image_of_a_case_has_the_answer_of_the_case(cases, tmp_path):
    model = bright_spot_model()
    index = explain_rows(model, cases, tmp_path / "out").index
    assert index.groupby("case_id")["probability"].nunique().tolist() == [1, 1]
    evidence = index.groupby("case_id")["evidence"].sum()
    # Of a net without anything that speaks against, what its images add is the logit less the bias.
    logits = np.log(1 / index.groupby("case_id")["probability"].first() - 1) * -1
    np.testing.assert_allclose(evidence, logits + 1, rtol=1e-3, atol=1e-3)
    assert by_path(index, "A_post")["predicted"]


def test_colours_end_at_what_the_deciding_images_have(cases, tmp_path):
    explained = explain_rows(bright_spot_model(), cases, tmp_path / "out")
    assert explained.scale["bright"] == pytest.approx(
        read_map(tmp_path / "out" / by_path(explained.index, "A_post")["map"]).max(), rel=1e-5
    )


def test_many_images_that_add_a_little_each_are_shown(cases, tmp_path):
    """Of a case's five images each adds a fifth of what would be worth showing of one."""
    pixels = np.asarray(Image.open(tmp_path / "images/A_post.png"))
    images = cases.images[cases.images["case_id"] == "A"].iloc[[1] * 5].reset_index(drop=True)
    names = [f"images/same{k}.png" for k in range(5)]
    for name in names:
        Image.fromarray(pixels).save(tmp_path / name)
    case = replace(cases.of(["A"]), images=images.assign(image_id=names, path=names))
    one = explain_rows(bright_spot_model(), cases.of(["A"]), tmp_path / "one").index["evidence"].max()
    for share, shown in ((1.2, True), (0.8, False)):
        model = bright_spot_model(weight=40 * share * 0.1 / one)
        index = explain_rows(model, case, tmp_path / str(share)).index
        assert index["evidence"].max() < 0.1
        assert index["has_evidence"].tolist() == [shown] * 5


def test_an_image_that_cannot_be_read_is_named_and_the_rest_of_its_case_explained(cases, tmp_path):
    (tmp_path / "images/A_pre.png").write_text("not an image")
    (tmp_path / "images/B_pre.png").unlink()
    (tmp_path / "images/B_post.png").unlink()
    explained = explain_rows(bright_spot_model(), cases, tmp_path / "out")
    assert [one.image_id for one in explained.failures] == [
        f"images/{name}.png" for name in ("A_pre", "B_pre", "B_post")
    ]
    assert list(explained.index["path"]) == ["images/A_post.png", "images/A_pre2.png"]


def test_maps_of_members_are_their_mean_in_the_targets_own_unit(cases):
    members = [bright_spot_model(40.0, scale=2.0), bright_spot_model(10.0, scale=4.0)]
    case = cases.of(["B"])
    case = replace(case, images=cases.images[cases.images["case_id"] == "A"].assign(case_id="B"))
    models = (*members, combine(members, (), "seeds"))
    first, second, both = (evidence_in_rows(model, case, "gradcam", [0]) for model in models)
    np.testing.assert_allclose(both.maps, (first.maps + second.maps) / 2, rtol=1e-5)
    np.testing.assert_allclose(both.probabilities, (first.probabilities + second.probabilities) / 2, rtol=1e-5)
    np.testing.assert_allclose(first.maps, 2 * second.maps, rtol=1e-4)
    np.testing.assert_allclose(both.amounts * 3, (2 * first.amounts + 4 * second.amounts) / 2, rtol=1e-5)
    np.testing.assert_allclose(both.units, 3 / 64, rtol=1e-6)
