"""Models of any kind are one predictor: a batch equals one by one, and a folder gives the model back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.basics import FocusmapError, InputError
from focusmap.evaluation import divisors
from focusmap.fitting.fit_targets import Rows, fit_target
from focusmap.images import StoreOptions, prepare_store
from focusmap.models.card import ModelCard
from focusmap.models.cases import NET, CaseModel
from focusmap.models.ensemble import MeanModel, combine, kind_of
from focusmap.models.features import fit_features
from focusmap.models.folder import CARD, can_be_mapped, load_model, net_within, save_model
from focusmap.models.net import Model, over_views
from focusmap.models.predict import encode, predict, predict_chunks
from focusmap.models.predictor import Predictor, answer, needs_of
from focusmap.models.rows import Estimators, RowModel
from focusmap.nets import AS_IT_IS, Architecture, CaseArchitecture, View, build_case_net, build_net
from focusmap.study import Cohort, Declaration, Samples, Study, by_case, fit_covariates, read_inputs
from support.models import edit, model_of, with_calibration

TASK = model_of().task
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def other_net(seed: int = 3) -> Model:
    """Return a net of another architecture and size than `model_of`."""
    architecture = Architecture("plain-cnn", 1, TASK.n_logits)
    card = replace(
        model_of().card, architecture=architecture.to_dict(), preparation={"size": 24}, temperatures={"nodule": 0.5}
    )
    return Model(build_net(architecture, seed=seed).eval(), card)


def features_model(seed: int = 0) -> RowModel:
    """Return estimators on histograms of noise."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (40, 1, 16, 16)).astype(np.uint8)
    features = fit_features(("histogram",), images, 0)
    values, truths = features(images), (random.permutation(np.arange(40) % 2), random.normal(10, 2, 40))
    patients = np.arange(40).astype(str)
    fitted = [
        fit_target(target, "svm", Rows(values, truth.astype(float), patients), "all", 0)
        for target, truth in zip(TASK.targets, truths, strict=True)
    ]
    fit = Estimators(TASK, tuple(fitted))
    architecture = {
        "model": "histogram+svm",
        "n_inputs": values.shape[1],
        **fit.describe(),
        "features": ["histogram"],
    }
    card = replace(model_of().card, architecture=architecture, preparation={"size": 16}, scales={})
    return RowModel(card, fit, features)


def case_model(seed: int = 0) -> CaseModel:
    """Return a model of cases of two views."""
    architecture = CaseArchitecture("small-residual", 1, TASK.n_logits, ("left", "right"))
    card = replace(model_of().card, architecture={"model": "small-residual", NET: architecture.to_dict()})
    return CaseModel(card, build_case_net(architecture, seed=seed).eval())


KINDS: dict[str, Callable[[], Predictor]] = {
    "net": model_of,
    "views": lambda: over_views(model_of(), (AS_IT_IS, View(mirror=True))),
    "seeds": lambda: combine([model_of(0), model_of(1)], (AS_IT_IS,), "seeds"),
    "features": features_model,
    "features-folds": lambda: combine([features_model(0), features_model(1)], (AS_IT_IS,), "folds"),
    "mean": lambda: combine([model_of(), features_model(), other_net()], (AS_IT_IS,), "ladder"),
    "mean-of-means": lambda: combine(
        [combine([model_of(0), model_of(1)], (AS_IT_IS,), "seeds"), other_net()], (AS_IT_IS,), "ladder"
    ),
    "cases": case_model,
    "cases-folds": lambda: combine([case_model(0), case_model(1)], (AS_IT_IS,), "folds"),
}


@pytest.fixture
def images(tmp_path: Path) -> Cohort:
    """Return nine images of different sizes; the first four are a case, the others one or two."""
    random = np.random.default_rng(0)
    for k in range(9):
        pixels = random.normal(100, 30, (30 + k, 40)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    table = pd.DataFrame({
        "row": range(2, 11),
        "image_id": [f"image{k}" for k in range(9)],
        "path": [f"{k}.png" for k in range(9)],
        "patient_id": list("aaaabbccd"),
        "case_id": list("aaaabbccd"),
        "view": ["left", "right", "left", "left", "left", "right", "left", "right", "left"],
    })  # fmt: skip
    return Cohort(Study(tmp_path / "l.csv", tmp_path, TASK, "path", case_column="case"), table, table)


def rows_for(model: Predictor, images: Cohort) -> Cohort:
    # A change is added to 0 where a value itself is learnt.
    return by_case(images) if model.views else images


def said(model: Predictor, rows: Cohort) -> np.ndarray:
    return predict(model, Samples.from_files(rows)).predictions.logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_one_by_one(kind: str, images: Cohort) -> None:
    model = KINDS[kind]()
    rows = rows_for(model, images)
    together = said(model, rows)
    assert together.shape == (len(rows), TASK.n_logits)
    alone = np.concatenate([said(model, rows.take([i])) for i in range(len(rows))])
    np.testing.assert_allclose(together, alone, **NEAR)
    chunks = list(predict_chunks(model, Samples.from_files(rows), n_rows=2))
    assert [name for one in chunks for name in one.rows.image_ids] == rows.image_ids
    np.testing.assert_allclose(np.concatenate([one.predictions.logits for one in chunks]), together, **NEAR)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_model_back_and_the_same_bytes_again(kind: str, images: Cohort, tmp_path: Path) -> None:
    model = KINDS[kind]()
    rows = rows_for(model, images)
    saved = save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.card == saved.card
    assert kind_of(loaded.card) == kind_of(model.card)
    assert np.array_equal(said(loaded, rows), said(model, rows))
    save_model(loaded, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "model")
    assert can_be_mapped(tmp_path / "model") == (loaded.explainable() is not None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_of_different_kinds_have_the_mean_of_their_calibrated_logits(images: Cohort) -> None:
    members = [model_of(), features_model(), other_net()]
    mean = combine(members, (AS_IT_IS,), "ladder")
    assert isinstance(mean, MeanModel)
    assert len(mean.preparations) == 3
    told = [said(model, images) / divisors(TASK, model.card.temperatures) for model in members]
    np.testing.assert_allclose(said(mean, images), np.mean(told, axis=0), **NEAR)
    once = combine([*members, members[0]], (AS_IT_IS,), "ladder")
    assert not np.allclose(said(once, images), said(mean, images), **NEAR), "each member counts"


def test_a_mean_is_calibrated_on_its_own(images: Cohort) -> None:
    mean = combine([model_of(), other_net()], (AS_IT_IS,), "ladder")
    assert mean.card.temperatures == {}
    warmer = with_calibration(mean, {"nodule": 2.0}, {"nodule": 0.7})
    assert np.array_equal(said(warmer, images), said(mean, images))
    found = predict(warmer, Samples.from_files(images)).predictions.of("nodule")[:, 0]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-said(mean, images)[:, 0] / 2)))


def test_nets_of_one_architecture_stay_one_net() -> None:
    assert isinstance(combine([model_of(0), model_of(1)], (AS_IT_IS,), "seeds"), Model)
    assert isinstance(combine([model_of(0), other_net()], (AS_IT_IS,), "seeds"), MeanModel)


def test_what_has_no_mean_is_refused() -> None:
    other_targets = replace(model_of(), card=replace(model_of().card, task=TASK.__class__(TASK.targets[:1])))
    with pytest.raises(InputError, match="different targets"):
        combine([other_net(), other_targets], (AS_IT_IS,), "ladder")
    with pytest.raises(InputError, match="single images and of cases"):
        combine([model_of(), case_model()], (AS_IT_IS,), "ladder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(members=[]), "weights are missing"),
        (lambda card: card.update(members=["../other"]), "lies outside"),
        (lambda card: card["architecture"].update(model="histogram+svm"), "another kind, or has members"),
    ],
)
def test_a_mean_that_does_not_hold_is_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    save_model(combine([model_of(), features_model()], (AS_IT_IS,), "ladder"), tmp_path)
    edit(tmp_path, change)
    with pytest.raises(FocusmapError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["net", "mean", "features"])
def test_what_cannot_be_read_is_reported_and_the_rest_is_answered(kind: str, images: Cohort) -> None:
    (images.study.images / "3.png").write_text("no image")
    model = KINDS[kind]()
    samples = Samples.from_files(images)
    found = predict(model, samples)
    assert [failure.image_id for failure in samples.failures] == ["image3"]
    left = images.take([k for k in range(9) if k != 3])
    assert found.rows.image_ids == left.image_ids
    np.testing.assert_allclose(found.predictions.logits, said(model, left), **NEAR)


def test_a_case_goes_on_with_the_images_that_are_left(images: Cohort) -> None:
    for name in ("3.png", "8.png"):
        (images.study.images / name).unlink()
    cases, samples = by_case(images), Samples.from_files(by_case(images))
    found = predict(case_model(), samples)
    assert [(failure.image_id, failure.reason[:14]) for failure in samples.failures][-1] == ("d", "no image of th")
    assert found.rows.image_ids == ["a", "b", "c"]
    assert [len(flags) for flags in found.predictions.flags or ()] == [1, 0, 0]
    left = by_case(images.take([0, 1, 2, 4, 5, 6, 7]))
    np.testing.assert_allclose(found.predictions.logits, said(case_model(), left), **NEAR)
    assert found.attention is not None
    assert len(found.attention) == 7
    assert len(cases) == samples.n_done == 4


def test_masks_and_trust_take_the_last_net_of_a_mean() -> None:
    run, last = Path("run"), other_net()
    for members in ([model_of(), features_model(), last], [model_of(), last, features_model()]):
        found = net_within(combine(members, (AS_IT_IS,), "ladder"), run)
        assert found.card.architecture == last.card.architecture
    for refused in (features_model(), case_model()):
        with pytest.raises(InputError, match=r"run: its model, .* masks and --trust need one of single images"):
            net_within(refused, run)


def test_a_card_of_one_kind_says_so() -> None:
    cards: dict[str, ModelCard] = {kind: make().card for kind, make in KINDS.items()}
    assert {kind: kind_of(card) for kind, card in cards.items()} == {
        "net": "net", "views": "net", "seeds": "net", "features": "rows", "features-folds": "rows", "mean": "mean",
        "mean-of-means": "mean", "cases": "cases", "cases-folds": "cases",
    }  # fmt: skip
    assert CARD == "model.json"


def test_volumes_in_a_batch_are_answered_as_one_by_one_and_as_from_a_store(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for k in range(3):
        nibabel.save(nibabel.Nifti1Image(random.normal(size=(12, 10 + k, 8)), np.eye(4)), tmp_path / f"{k}.nii.gz")
    table = pd.DataFrame({
        "row": [2, 3, 4], "image_id": ["a", "b", "c"], "path": [f"{k}.nii.gz" for k in range(3)], "patient_id": "p"
    })  # fmt: skip
    rows = Cohort(Study(tmp_path / "l.csv", tmp_path, TASK, "path"), table, table)
    architecture = Architecture("small-residual-3d", 1, TASK.n_logits)
    card = replace(model_of().card, architecture=architecture.to_dict(), preparation={"shape": [12, 12, 8]})
    model = Model(build_net(architecture).eval(), card)
    together = said(model, rows)
    np.testing.assert_allclose(together, np.concatenate([said(model, rows.take([i])) for i in range(3)]), **NEAR)
    store = prepare_store(rows.files, rows.image_ids, model.preparation, tmp_path / "store", StoreOptions(workers=1))
    stored = predict(model, Samples.from_store(rows, store)).predictions.logits
    np.testing.assert_allclose(stored, together, rtol=1e-4, atol=1e-4)


def test_a_net_and_a_model_of_the_table_are_one_model(images: Cohort, tmp_path: Path) -> None:
    cells = images.table.assign(age=[str(30 + 3 * k) for k in range(9)])
    rows = Cohort(replace(images.study, covariates=("age",)), cells, cells)
    covariates = fit_covariates(rows, rows.image_ids)
    values, truth = covariates.encode(rows).values, np.arange(9) % 2
    fitted = [fit_target(t, "logistic", Rows(values, truth.astype(float), cells["patient_id"].to_numpy(str)), "all", 0)
              for t in TASK.targets]  # fmt: skip
    answers = Estimators(TASK, tuple(fitted))
    architecture = {"model": "logistic", "n_inputs": values.shape[1], **answers.describe()}
    card = replace(model_of().card, architecture=architecture, preparation={}, scales={})
    members = [model_of(), RowModel(replace(card, covariates=covariates.to_list()), answers)]
    save_model(combine(members, (AS_IT_IS,), "ladder"), tmp_path / "model")
    mean = load_model(tmp_path / "model")
    assert needs_of(mean).covariates == ("age",)
    assert mean.explainable() is None
    told = [said(members[0], rows), predict(members[1], Samples.from_table(rows)).predictions.logits]
    calibrated = [one / divisors(TASK, {"nodule": 1.5}) for one in told]
    np.testing.assert_allclose(said(mean, rows), np.mean(calibrated, axis=0), **NEAR)
    rows.table.to_csv(tmp_path / "asked.csv", index=False)
    asked = read_inputs(tmp_path / "model", needs_of(mean), [tmp_path / "asked.csv"], Declaration(images=tmp_path))
    np.testing.assert_allclose(predict(mean, asked).predictions.logits, said(mean, rows), **NEAR)
    older = rows.table.assign(age="200")
    flagged = predict(mean, Samples.from_files(replace(rows, table=older))).predictions.flags or ()
    assert [len(flags) for flags in flagged] == [1] * 9


def test_what_is_shuffled_between_looking_and_answering_is_another_rows(images: Cohort) -> None:
    model, rows = case_model(), by_case(images)
    encoded, seen = encode(model, Samples.from_files(rows))
    order = np.array([1, 0, 2, 3])
    swapped = answer(model, encoded.shuffled(order), seen)[0]
    np.testing.assert_allclose(swapped, said(model, rows)[order], **NEAR)
    one_view = answer(model, encoded.shuffled(order, "left"), seen)[0]
    np.testing.assert_allclose(one_view[2:], said(model, rows)[2:], **NEAR)
    assert not np.allclose(one_view[0], said(model, rows)[0], **NEAR)


def test_maps_of_a_mean_rest_on_the_logits_that_it_predicts_by(images: Cohort) -> None:
    """Members are averaged after calibration; a map beside another probability would contradict the answer."""
    members = [with_calibration(model_of(), {"nodule": 3.0}, {}), with_calibration(other_net(), {"nodule": 0.4}, {})]
    mean = combine(members, (AS_IT_IS,), "ladder")
    view = mean.explainable()
    assert view is not None
    seen = [
        view.map_batch(batch, "cam", [0, 1]).logits
        for batch in Samples.from_files(images).batches(view.preparations, 4)
    ]  # fmt: skip
    np.testing.assert_allclose(np.concatenate(seen), said(mean, images), rtol=1e-4, atol=1e-5)
