"""The ladder climbs as far as its time allows, the tuning set chooses, and what was not chosen stands beside it."""

import json
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

import focusmap
from focusmap.cli import main
from focusmap.evaluation import Predictions
from focusmap.fitting import configure, frozen, ladder
from focusmap.fitting.choice import FINE_TUNED, FROM_SCRATCH, MEAN, PROBE, SIMPLE, Rung, choose
from focusmap.fitting.probe import fit_head
from focusmap.heatmaps import heat_maps, write
from focusmap.images import Preparation
from focusmap.models.card import ModelCard
from focusmap.models.folder import load_run_model
from focusmap.models.net import Model, over_views
from focusmap.nets import Architecture, FocusNet, LevelsNet, build_net
from focusmap.nets.grids import AS_IT_IS, View, show, views_over_sizes, views_within
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study import Cohort, Run, RunOptions, Samples, Target, Task, read_cohort
from focusmap.study.recipe import Augmentation, Recipe, read_recipe
from focusmap.training import devices
from support.phantom_eyes import EyeOptions, make_eyes, write_eyes
from support.studies import phantom_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_study(tmp_path_factory.mktemp("ladder"), patients=60, images=90, size=64)


def climbed(study: Path, out: Path, *more: str) -> dict[str, object]:
    assert main(["run", str(study), "--out", str(out), "--workers", "1", *more]) == 0
    return json.loads((out / "ladder.json").read_text())


@pytest.mark.slow
def test_a_run_without_a_model_climbs_and_says_why_it_chose(study: Path, tmp_path: Path, small_ladder: None) -> None:
    found = climbed(study, tmp_path / "run", "--budget", "20")
    names = [rung["name"] for rung in found["rungs"]]
    assert names == [PROBE, SIMPLE, FROM_SCRATCH, FINE_TUNED, MEAN]
    assert sum(rung["chosen"] for rung in found["rungs"]) == 1
    assert found["reason"]
    # What was not chosen is evaluated beside what was, and the model of the run is the chosen one.
    baselines = json.loads((tmp_path / "run/evaluation/baselines.json").read_text())["baselines"]
    beside = {entry["name"] for entry in baselines}
    assert {PROBE, FINE_TUNED} - {found["chosen"]} <= beside
    tune = pd.read_csv(tmp_path / "run/predictions/tune.csv")
    model = load_run_model(tmp_path / "run", "cpu")
    assert len(tune) == found["rungs"][0]["inner"]["n"]
    assert (len(model.members) == 2) == (found["chosen"] == MEAN)
    assert "ladder" in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_a_small_budget_ends_with_the_probe(study: Path, tmp_path: Path, small_ladder: None) -> None:
    found = climbed(study, tmp_path / "run", "--budget", "0.001")
    assert [rung["name"] for rung in found["rungs"]] == [PROBE, SIMPLE]
    assert found["chosen"] in (PROBE, SIMPLE)
    assert found["finished"]


@pytest.mark.slow
def test_an_interrupted_ladder_ends_with_what_it_has(
    study: Path,
    tmp_path: Path,
    small_ladder: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(ladder, "fine_tuned_recipe", interrupted)
        assert main(["run", str(study), "--out", str(out), "--workers", "1", "--budget", "0.01"]) == 130
    assert f"{out} holds the best model so far" in capsys.readouterr().err
    found = json.loads((out / "ladder.json").read_text())
    assert (found["chosen"], found["finished"], found["budget_minutes"]) == (PROBE, False, 0.01)
    assert (out / "report.html").is_file()
    assert (out / "evaluation/metrics.json").is_file()
    assert (out / "focus/index.csv").is_file()
    # It goes on: with the time that it had there is none for more, with another budget there is.
    assert main(["run", "--resume", str(out)]) == 0
    again = json.loads((out / "ladder.json").read_text())
    assert [rung["name"] for rung in again["rungs"]] == [PROBE, SIMPLE]
    assert again["finished"]
    assert again["rungs"][0]["seconds"] == found["rungs"][0]["seconds"]
    assert main(["run", "--resume", str(out), "--budget", "20"]) == 0
    more = json.loads((out / "ladder.json").read_text())
    assert [rung["name"] for rung in more["rungs"]] == [PROBE, SIMPLE, FROM_SCRATCH, FINE_TUNED, MEAN]
    assert (more["finished"], more["budget_minutes"]) == (True, 20)


@pytest.mark.slow
def test_a_killed_climb_leaves_a_run_that_is_whole(
    study: Path, tmp_path: Path, small_ladder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is on disk when the second model is trained is a run that can be read, predicted with and resumed."""
    out, seen = tmp_path / "run", tmp_path / "seen"

    def copied(*_: object) -> None:
        shutil.copytree(out, seen)

    monkeypatch.setattr(ladder, "fine_tuned_recipe", copied)
    climbed(study, out)
    assert json.loads((seen / "evaluation/metrics.json").read_text())["targets"]
    tune = pd.read_csv(seen / "predictions/tune.csv")
    assert main(["predict", str(seen), str(study), "--out", str(tmp_path / "all.csv")]) == 0
    again = pd.read_csv(tmp_path / "all.csv").set_index("image_id").loc[tune["image_id"]].reset_index()
    assert np.allclose(tune["nodule"], again["nodule"], atol=1e-3)
    assert main(["report", str(seen)]) == 0


@pytest.mark.slow
def test_folds_all_have_an_answer_before_one_has_two(study: Path, tmp_path: Path, small_ladder: None) -> None:
    found = climbed(study, tmp_path / "run", "--folds", "3", "--budget", "20", "--baseline", "none", "--epochs", "2")
    assert [rung["name"] for rung in found["rungs"]] == [PROBE, FROM_SCRATCH, FINE_TUNED, MEAN]
    assert [rung["n_folds"] for rung in found["rungs"]] == [3, 3, 3, 3]
    parts = [json.loads((tmp_path / f"run/folds/{k}/ladder.json").read_text()) for k in range(3)]
    assert found["rungs"][0]["inner"]["n"] == sum(part["rungs"][0]["inner"]["n"] for part in parts)
    assert found["chosen"] in {part["chosen"] for part in parts}
    assert found["finished"]
    probes = [(tmp_path / f"run/folds/{k}/rungs/{PROBE}/predictions/tune.csv").stat().st_mtime for k in range(3)]
    fine = [(tmp_path / f"run/folds/{k}/rungs/{FINE_TUNED}/recipe.yaml").stat().st_mtime for k in range(3)]
    assert max(probes) < min(fine)
    assert "linear probe" in (tmp_path / "run/report.html").read_text()


def test_a_named_model_is_trained_exactly(study: Path, tmp_path: Path) -> None:
    more = ("--model", "small-residual", "--epochs", "1", "--size", "16", "--weights", "none", "--workers", "1")
    assert main(["train", str(study), "--out", str(tmp_path / "run"), *more]) == 0
    assert not (tmp_path / "run/ladder.json").exists()


def test_a_net_beside_a_table_is_no_ladder(study: Path, tmp_path: Path, small_ladder: None) -> None:
    more = ("--model", "auto+table", "--covariate", "age", "--epochs", "1", "--size", "16", "--workers", "1")
    assert main(["train", str(study), "--out", str(tmp_path / "run"), *more]) == 0
    assert read_recipe(tmp_path / "run/recipe.yaml").model == "small-residual+table"
    assert not (tmp_path / "run/ladder.json").exists()


def test_the_probe_is_shown_the_views_that_it_was_fitted_to() -> None:
    """Features of train are means of image and mirror image, or of the image alone; so are its answers."""
    for mirrors, views in ((True, (AS_IT_IS, View(mirror=True))), (False, (AS_IT_IS,))):
        recipe = ladder.probe_recipe(
            Recipe(augmentation=Augmentation(mirror=mirrors), tta=True, cases="pictures"), "small-residual"
        )
        assert views_within(recipe.augmentation) == views
        assert recipe.tta == mirrors


def on_device(monkeypatch: pytest.MonkeyPatch, accelerator: str) -> None:
    monkeypatch.setattr("focusmap.training.choose_devices", lambda *_: devices.Devices(accelerator, 1))


def test_a_graphics_card_buys_a_larger_net_and_larger_images(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device(monkeypatch, "cpu")
    assert configure.ladder_settings("auto") == configure.ON_PROCESSOR
    on_device(monkeypatch, "cuda")
    monkeypatch.setattr("focusmap.nets.has_local_weights", lambda _: True)
    larger = configure.ladder_settings("auto")
    assert larger.backbone == "tf_efficientnet_lite2"
    monkeypatch.setattr("focusmap.nets.has_local_weights", lambda name: name == "tf_efficientnet_lite0")
    large = configure.ladder_settings("auto")
    assert large.backbone == "tf_efficientnet_lite0"
    for one in (large, larger):
        assert one.sizes[0] > configure.ON_PROCESSOR.sizes[0]
        assert one.fine_tuned_sizes > configure.ON_PROCESSOR.fine_tuned_sizes


def test_many_images_or_a_small_budget_make_the_probe_s_images_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device(monkeypatch, "cpu")
    asked = []

    def seconds(_: str, size: int, __: str) -> float:
        asked.append(size)
        return 0.02 * (size / 320) ** 2

    monkeypatch.setattr(configure, "_seconds_per_image", seconds)
    ten = RunOptions(budget=10.0)
    assert configure._ladder_size(559, ten) == 320
    assert asked == [], "what costs little is not measured"
    assert configure._ladder_size(7000, ten) == 256
    assert configure._ladder_size(10**6, ten) == 128
    assert configure._ladder_size(5000, RunOptions(budget=60.0)) == 320
    assert configure._ladder_size(559, RunOptions(budget=0.4)) == 192


@pytest.mark.slow
def test_maps_end_with_their_time_and_come_by_lot(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "at_once", lambda *_: 4)
    more = ("--model", "small-residual-probe", "--size", "64", "--weights", "none", "--workers", "1")
    assert main(["train", str(study), "--out", str(tmp_path / "run"), *more]) == 0
    test = pd.read_csv(tmp_path / "run/predictions/test.csv")["image_id"]
    found = []
    for name, seconds in (("all", None), ("some", 0.0)):
        focusmap.explain(tmp_path / "run", focusmap.ExplainRequest(out=tmp_path / name, seconds=seconds))
        found.append(list(dict.fromkeys(pd.read_csv(tmp_path / name / "index.csv")["image_id"])))
        assert (tmp_path / name / "scores.json").is_file()
    assert found[0] == list(test)
    assert 0 < len(found[1]) < len(test)
    assert found[1] != found[0][: len(found[1])]


def test_a_fine_tuned_net_is_the_mean_over_sizes_and_its_map_adds_up(study: Path) -> None:
    """Of images of 32, 45 and 64 pixels, and of their mirror images."""
    cohort = read_cohort(study).take(np.arange(12))
    net = build_net(Architecture("small-residual", 1, 1), seed=3).eval()
    torch.nn.init.normal_(net.head.weight)
    preparation, views = Preparation(64, 1), views_over_sizes(32, 64, mirrors=True)
    model = over_views(model_of(net, cohort.task, Preparation(32, 1)), views, preparation)
    assert [(view.size, view.mirror) for view in views] == [(s, m) for m in (False, True) for s in (0.5, 0.7, 1.0)]
    batches = Samples.from_files(cohort).batches([preparation], 4)
    x = torch.cat([torch.from_numpy(batch.images(preparation).pixels) for batch in batches])
    found = heat_maps(model.net.eval(), x, "cam")
    with torch.inference_mode():
        each = torch.stack([net(show(view, x)) for view in views])
        assert torch.allclose(each[0], net(adaptive_avg_pool2d(x, 32)), rtol=0.1, atol=0.2)
        assert torch.allclose(model.net(x), each.mean(dim=0), atol=1e-5)
        assert found.maps.shape[2:] == net.features(x).shape[2:]
    assert torch.allclose(found.maps.mean(dim=(2, 3)) + net.head.bias, found.logits, atol=1e-3)
    assert tuple(View.from_dict(view) for view in model.card.tta) == views


def test_dry_run_says_the_budget(study: Path, small_ladder: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(study), "--dry-run", "--budget", "7"]) == 0
    shown = capsys.readouterr().out
    assert "ladder" in shown
    assert "7:00" in shown or "7 min" in shown
    assert "epochs" not in shown
    assert main(["run", str(study), "--dry-run", "--budget", "7", "--folds", "3"]) == 0
    assert "up to about 7 min" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_of_volumes_climbs_too(tmp_path: Path, small_ladder: None) -> None:
    """A probe of their slices first, then the usual net; maps lie in the volumes' own grids."""
    phantom = make_phantom(PhantomOptions(n_patients=40, n_images=40, size=28, dimensions=3))
    labels = write_phantom(phantom, tmp_path / "study")
    found = climbed(labels, tmp_path / "run", "--budget", "20", "--epochs", "4")
    assert [rung["name"] for rung in found["rungs"]] == [PROBE, FROM_SCRATCH, MEAN]
    model = load_run_model(tmp_path / "run/rungs" / PROBE, "cpu")
    assert model.card.architecture["model"] == "small-residual-slices"
    assert model.card.preparation["scaling"] == "range"
    index = pd.read_csv(tmp_path / "run/focus/index.csv")
    assert index["map"].str.endswith(".nii.gz").all()


@pytest.mark.slow
def test_a_study_of_cases_climbs_too(tmp_path: Path, small_ladder: None) -> None:
    """A probe of their views first, then one net of all; both have maps of each image and weights among them."""
    labels = write_eyes(make_eyes(EyeOptions(n_patients=24, size=28)), tmp_path / "exports")
    halves = tmp_path / "halves"
    assert main(["convert", str(labels), "--parts", "left-half,right-half", "--out", str(halves)]) == 0
    told = ("--target", "relapse", "--case", "eye_id", "--view", "view", "--epochs", "4", "--budget", "20")
    found = climbed(halves / "labels.csv", tmp_path / "run", *told)
    assert [rung["name"] for rung in found["rungs"]] == [PROBE, FINE_TUNED, MEAN]
    card = load_run_model(tmp_path / "run/rungs" / PROBE, "cpu").card
    assert card.architecture["net"]["model"] == "small-residual-probe"  # type: ignore[index,call-overload]
    attention = pd.read_csv(tmp_path / "run/predictions/attention.csv", keep_default_na=False)
    assert np.allclose(attention.groupby(["case_id", "view"])["attention"].sum(), 1, atol=1e-3)
    assert (tmp_path / "run/focus/index.csv").is_file()
    assert (tmp_path / "run/report.html").is_file()


def model_of(net: FocusNet, task: Task, preparation: Preparation) -> Model:
    architecture = Architecture("small-residual", 1, task.n_logits).to_dict()
    card = ModelCard(task, architecture, preparation.to_dict(), {}, "youden", {}, {}, {}, {}, {})
    return Model(net, card)


TASK = Task((Target("a"),))


NOISE = {PROBE: 1, FINE_TUNED: 2, MEAN: 3, SIMPLE: 4}


def rung(name: str, quality: float, n: int = 400, scale: float = 1.0) -> tuple[Rung, np.ndarray]:
    truth = (np.arange(n) % 2).astype(float)
    noise = np.random.default_rng(NOISE[name]).normal(size=n)
    logits = scale * (quality * (truth - 0.5) + noise)[:, None]
    ids = pd.DataFrame({"image_id": [f"{i}" for i in range(n)], "patient_id": [f"{i}" for i in range(n)]})
    predictions = Predictions(TASK, ids, logits, 1 / (1 + np.exp(-logits)))
    return Rung(name, None, {"tune": predictions}, 1.0), truth  # type: ignore[arg-type]


class _Training:
    """What `choose` asks of a training: the truth of the tuning set."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth[:, None]

    @property
    def cohort(self) -> "_Training":
        return self

    def of(self, _: list[str]) -> "_Training":
        return self


def chosen(*rungs: tuple[Rung, np.ndarray]) -> str:
    found, reason = choose([one for one, _ in rungs], _Training(rungs[0][1]))  # type: ignore[arg-type]
    assert reason
    return found.name


def test_the_simpler_of_equals_is_taken_and_the_better_of_unequals() -> None:
    assert chosen(rung(PROBE, 1.0), rung(FINE_TUNED, 1.02)) == PROBE
    assert chosen(rung(PROBE, 0.5), rung(FINE_TUNED, 2.5)) == FINE_TUNED


def test_the_simple_model_is_taken_where_it_is_the_better_one_and_not_where_it_is_equal() -> None:
    assert chosen(rung(PROBE, 1.0), rung(SIMPLE, 1.02)) == PROBE
    assert chosen(rung(PROBE, 0.5), rung(SIMPLE, 2.5)) == SIMPLE
    assert chosen(rung(PROBE, 0.5), rung(SIMPLE, 2.5), rung(FINE_TUNED, 2.52)) == SIMPLE


def test_the_mean_is_taken_where_its_loss_is_lower() -> None:
    assert chosen(rung(PROBE, 1.5), rung(FINE_TUNED, 1.5), rung(MEAN, 2.5)) == MEAN
    assert chosen(rung(PROBE, 1.5), rung(FINE_TUNED, 1.5), rung(MEAN, 1.5, scale=9.0)) != MEAN


def test_a_tuning_set_of_one_class_has_no_score_and_is_written(tmp_path: Path) -> None:
    one, truth = rung(PROBE, 1.0, n=40)
    alone = _Training(np.ones_like(truth))
    alone.run = Run(tmp_path)  # type: ignore[attr-defined]
    ladder._Climb(alone, RunOptions(), {}, [one]).choose()  # type: ignore[arg-type]
    inner = json.loads((tmp_path / "ladder.json").read_text())["rungs"][0]["inner"]
    assert inner["score"] is None
    assert inner["n"] == 40


def test_a_probe_tells_every_kind_of_target(study: Path) -> None:
    cohort: Cohort = read_cohort(study)
    n = len(cohort)
    features = np.random.default_rng(1).normal(size=(n, 30))
    task = Task((Target("a"), Target("c", "multiclass", ("x", "y", "z")), Target("v", "continuous"), Target("b")))
    truth = np.stack(
        [features[:, 0] > 0, np.digitize(features[:, 1], [-0.5, 0.5]), features[:, 2], features[:, 3] > 0.5], axis=1
    ).astype(float)
    truth[::7, 0] = np.nan
    logits = fit_head(task, features, truth, cohort, seed=0)(features)
    assert logits.shape == (n, task.n_logits)
    known = ~np.isnan(truth[:, 0])
    assert ((logits[known, 0] > 0) == truth[known, 0]).mean() > 0.8
    assert (logits[:, task.slice_of("c")].argmax(axis=1) == truth[:, 1]).mean() > 0.6
    assert np.corrcoef(logits[:, task.index("v") + 2], truth[:, 2])[0, 1] > 0.8


def test_a_probe_is_the_regression_that_was_fitted(study: Path, tmp_path: Path) -> None:
    """The net of a trained probe gives what its head says of what it measures, from store and from files alike."""
    more = ("--model", "small-residual-probe", "--size", "64", "--weights", "none", "--workers", "1")
    assert main(["train", str(study), "--out", str(tmp_path / "run"), *more]) == 0
    model = load_run_model(tmp_path / "run", "cpu")
    x = torch.randn(2, 1, 64, 64)
    net = model.net  # type: ignore[attr-defined]
    assert torch.allclose(net(x), net.head(net.measure(x)), atol=1e-5)
    assert bool(net.head.weight.abs().max() > 0)
    table = pd.read_csv(tmp_path / "run/predictions/test.csv")
    assert main(["predict", str(tmp_path / "run"), str(study), "--out", str(tmp_path / "all.csv")]) == 0
    again = pd.read_csv(tmp_path / "all.csv").set_index("image_id").loc[table["image_id"]].reset_index()
    name = next(column for column in table if column.endswith(".logit"))
    assert np.allclose(table[name], again[name], atol=1e-3)


@pytest.mark.parametrize("left", [0, -8])
def test_features_that_were_kept_and_cut_short_are_measured_anew(tmp_path: Path, left: int) -> None:
    file, features = tmp_path / "features.npy", np.ones((4, 3), np.float32)
    assert frozen.kept_features(file) is None
    np.save(file, features)
    assert np.array_equal(frozen.kept_features(file), features)
    file.write_bytes(file.read_bytes()[:left])
    assert frozen.kept_features(file) is None


@pytest.mark.slow
def test_openvino_measures_frozen_features_as_torch_does() -> None:
    """In both sizes of an image and for any number of them, contiguous or with channels last."""
    pytest.importorskip("openvino")
    net = cast(LevelsNet, build_net(Architecture("small-residual-probe", 1, 1), seed=0).eval())
    compiled, x = frozen._Compiled(net), torch.rand(5, 1, 32, 32)
    with torch.inference_mode():
        for part in (x, x[:2], x.to(memory_format=torch.channels_last)):
            assert torch.allclose(compiled(part), net.measure(part), atol=1e-3, rtol=1e-3)
    assert len(compiled._graphs) == 2
