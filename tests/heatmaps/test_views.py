"""The views of models: a batch is seen as its rows are one by one, and what maps add up to is the logit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_explain_cases
import torch
from PIL import Image
from test_explain import TWO, Brightness, bright_spot_model
from test_explain_cases import cases  # noqa: F401
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.heatmaps.map_files import Item
from focusmap.heatmaps.net_views import MeanView, mean_of
from focusmap.heatmaps.view import BatchMaps, NetView, evidence_in
from focusmap.heatmaps.write import ExplainOptions, write_methods
from focusmap.images import Preparation, prepare_file, read_map
from focusmap.images.prepare import Placement
from focusmap.models import Model
from focusmap.models.ensemble import combine
from focusmap.models.net import over_views
from focusmap.nets import AS_IT_IS, Architecture, FocusNet, View, build_net
from focusmap.study import Cohort, Samples
from support.maps import explain_rows, samples_of

ADDING_UP = ("cam", "gradcam", "hirescam")


class Coarse(nn.Module):
    """As `Brightness`, in cells of 8 x 8 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 8).clamp(min=0)


class Fine(nn.Module):
    """In cells of 3 x 3 pixels, which lie across those of `Coarse`."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 3).clamp(min=0)


def linear_model(backbone: nn.Module, size: int, seed: int = 0) -> Model:
    """A backbone whose places are averaged and go through one linear layer; the images are prepared to `size`."""
    model = bright_spot_model(*TWO)
    torch.manual_seed(seed)
    net = FocusNet(backbone, 1, 2).eval()
    preparation = {**model.card.preparation, "size": size}
    return Model(net, replace(model.card, preparation=preparation))


def small_net(seed: int) -> Model:
    card = replace(bright_spot_model(*TWO).card, preparation={"size": 32})
    return Model(build_net(Architecture("small-residual", 1, 2), seed=seed).eval(), card)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    rng, found = np.random.default_rng(1), []
    for i, shape in enumerate([(48, 48), (48, 96), (60, 40), (33, 50)]):
        file = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(file)
        found.append(Item(str(i), file.name, file))
    return found


def maps_of(view: NetView, samples: Samples, method: str, at_once: int) -> BatchMaps:
    """What is seen of all samples, some at a time."""
    found = [view.map_batch(batch, method, [0, 1]) for batch in samples.batches(view.preparations, at_once)]
    return BatchMaps(
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("logits", "maps", "amounts")),
        found[0].deviations,
        np.concatenate([one.sharing for one in found]),
    )


def assert_same(first: BatchMaps, second: BatchMaps) -> None:
    for name in ("logits", "maps", "amounts", "deviations", "sharing"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", ["cam", "gradcam@mirror"])
@pytest.mark.parametrize("kind", ["net", "views", "ensemble", "mixed"])
def test_a_batch_of_images_is_seen_as_one_by_one(items, kind, method):
    model = {
        "net": lambda: small_net(0),
        "views": lambda: over_views(small_net(0), [AS_IT_IS, View(mirror=True)]),
        "ensemble": lambda: combine([small_net(0), small_net(1)], (AS_IT_IS,), "seeds"),
        "mixed": lambda: small_net(0),
    }[kind]()
    view: NetView = model.explainable()
    if kind == "mixed":
        view = MeanView(model.card, (view, linear_model(Coarse(), 48).explainable()))
    together, alone = (maps_of(view, samples_of(model, items), method, n) for n in (4, 1))
    assert_same(together, alone)


@pytest.mark.parametrize("n_members", [1, 2])
def test_cases_are_seen_together_as_one_by_one(cases, n_members):  # noqa: F811
    members = [test_explain_cases.bright_spot_model(weight) for weight in (40.0, 10.0)][:n_members]
    view = (members[0] if n_members == 1 else combine(members, (), "seeds")).explainable()
    found = []
    for at_once in (1, 99):
        batches = list(Samples.from_files(cases).batches(view.preparations, at_once))
        assert len(batches) == (2 if at_once == 1 else 1)
        found.append([view.map_batch(batch, "gradcam", [0]) for batch in batches])
    for name in ("logits", "maps", "amounts", "sharing"):
        alone, together = (np.concatenate([getattr(one, name) for one in several]) for several in found)
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    assert np.concatenate([one.sharing for one in found[0]]).tolist() == [3, 3, 3, 2, 2]


@pytest.mark.parametrize("method", ADDING_UP)
def test_maps_of_a_linear_head_add_up_to_the_logit_less_the_bias(items, method):
    model = linear_model(Coarse(), 48)
    found = maps_of(model.explainable(), samples_of(model, items), method, 4)
    assert_adds_up(found, method, added_by_places(found, model, method))


@pytest.mark.parametrize("method", ADDING_UP)
def test_maps_of_unlike_models_are_brought_to_one_grid_and_still_add_up(items, method):
    """One is shown 48 pixels and has 6 x 6 cells, the other 36 and 12 x 12, a third 40 and 10 x 10."""
    models = [linear_model(Coarse(), 48, 0), linear_model(Fine(), 36, 1), linear_model(Brightness(), 40, 2)]
    view = MeanView(models[0].card, tuple(model.explainable() for model in models))
    found = maps_of(view, samples_of(models[0], items), method, 4)
    each = [maps_of(model.explainable(), samples_of(model, items), method, 4) for model in models]
    assert [one.maps.shape[2:] for one in each] == [(6, 6), (12, 12), (10, 10)]
    assert found.maps.shape == (4, 2, 12, 12)
    wanted = [added_by_places(one, model, method) for one, model in zip(each, models, strict=True)]
    assert_adds_up(found, method, np.mean(wanted, axis=0))
    np.testing.assert_allclose(found.logits, np.mean([one.logits for one in each], axis=0))
    np.testing.assert_allclose(found.amounts, np.mean([one.amounts for one in each], axis=0), rtol=1e-5)


def test_maps_of_a_cases_images_add_up_to_its_logit_less_the_bias(cases):  # noqa: F811
    view = test_explain_cases.bright_spot_model().explainable()
    for batch in Samples.from_files(cases).batches(view.preparations, 1):
        found = view.map_batch(batch, "gradcam", [0])
        assert found.maps.sum() == pytest.approx(found.logits[0, 0] + 1, rel=1e-4, abs=1e-4)
        assert len(set(found.logits[:, 0])) == 1


def added_by_places(found: BatchMaps, model: Model, method: str) -> np.ndarray:
    """Return what all places add to the logits ``(N, L)``; features are not negative, so that a label's have one sign.

    Gradient methods show what speaks for a label alone.
    """
    added = found.logits - model.net.head.bias.detach().numpy().astype(np.float64)
    return added if method == "cam" else added.clip(min=0)


def assert_adds_up(found: BatchMaps, method: str, wanted: np.ndarray) -> None:
    total = (found.maps.mean if method == "cam" else found.maps.sum)(axis=(2, 3))
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(total, wanted, rtol=1e-3, atol=1e-5)


def test_members_that_are_shown_different_parts_of_an_image_have_no_common_map():
    first = linear_model(Coarse(), 48)
    second = replace(first, card=replace(first.card, preparation={**first.card.preparation, "crop": "left-half"}))
    with pytest.raises(InputError, match="different parts"):
        MeanView(first.card, (first.explainable(), second.explainable()))


def test_the_usual_method_of_unlike_models_is_one_that_all_can_draw():
    focus = replace(small_net(0), net=build_net(Architecture("small-residual-fpn", 1, 2)).eval())
    plain = small_net(1)
    view = MeanView(plain.card, (focus.explainable(), plain.explainable()))
    assert (focus.explainable().check(None), view.check(None)) == ("focus", "cam")
    assert "focus" not in view.methods
    with pytest.raises(InputError, match="needs a net with evidence at every place"):
        view.check("focus")


def test_the_mean_of_one_is_itself_and_evidence_is_that_of_the_mean(items):
    model = small_net(0)
    one = maps_of(model.explainable(), samples_of(model, items), "cam", 4)
    assert_same(mean_of([one], "cam"), one)
    said = evidence_in(one, model.card, "cam", [0, 1])
    assert said.has_evidence.tolist() == (one.amounts >= 0.1).tolist()


def test_several_methods_read_each_image_once_and_write_what_each_writes_alone(items, tmp_path, monkeypatch):
    model, read = small_net(0), []

    def noted(file: Path, preparation: Preparation) -> tuple[np.ndarray, Placement]:
        read.append(file)
        return prepare_file(file, preparation)

    monkeypatch.setattr("focusmap.study.samples.prepare_file", noted)
    methods = ("cam", "gradcam++", "layercam")
    write_methods(model.explainable(), samples_of(model, items), tmp_path / "all", methods, ExplainOptions())
    assert sorted(read) == sorted(item.file for item in items)
    for method in methods:
        write_methods(model.explainable(), samples_of(model, items), tmp_path / method, [method], ExplainOptions())
        for name in sorted((tmp_path / method / "maps").iterdir()):
            np.testing.assert_array_equal(read_map(name), read_map(tmp_path / "all" / method / "maps" / name.name))


def test_rows_of_a_cohort_and_their_files_give_the_same_maps(cases, tmp_path):  # noqa: F811
    """A model of cases whose rows are single images says what is said of each alone."""
    assert isinstance(cases, Cohort)
    model = test_explain_cases.bright_spot_model()
    both = explain_rows(model, cases, tmp_path / "both").index
    one = explain_rows(model, cases.of(["B"]), tmp_path / "one").index
    assert one["evidence"].tolist() == both[both["case_id"] == "B"]["evidence"].tolist()
