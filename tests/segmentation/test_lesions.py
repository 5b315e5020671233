"""What counts as a lesion, the positive class or all but those called normal, and which of them are drawn."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from focusmap.basics import InputError
from focusmap.heatmaps import Item
from focusmap.images.crop import Box
from focusmap.images.prepare import Placement
from focusmap.segmentation import by_vote
from focusmap.segmentation.by_vote import DISTILLED, FEWEST_LESIONS, NO_GATE, VOTE, gate_of
from focusmap.segmentation.cases import LabelledCases, LesionCase, working_shape
from focusmap.segmentation.drawing import Drawer, best_by_labels, drawn_regions
from focusmap.segmentation.lesions import Lesion, lesions_of
from focusmap.segmentation.small_nets import UNet, move_threshold, predict_masks
from focusmap.segmentation.votes import Choice, Vote
from focusmap.study import Target, Task
from support.dicom_files import a_dataset, saved

BREAST = Target("label", "multiclass", ("normal", "benign", "malignant"))
TUMOUR = Target("tumour", "multiclass", ("glioma", "meningioma"))
TASK = Task(
    (Target("nodule"), BREAST, TUMOUR, Target("age", "continuous"), Target("grade", "ordinal", ("0", "1", "2")))
)


def test_every_target_but_a_continuous_one_has_a_lesion() -> None:
    nodule, breast, tumour, grade = lesions_of(TASK)
    assert nodule == Lesion("nodule", "nodule", ("nodule",))
    assert breast.labels == ("label=benign", "label=malignant")
    assert breast.negatives == ("label=normal",)
    assert breast.in_words(TASK) == (
        "label: images labelled benign or malignant have a lesion, those labelled normal have none"
    )
    assert nodule.in_words(TASK) == "nodule: images labelled 1 have a lesion, those labelled 0 have none"
    assert tumour.labels == ("tumour=glioma", "tumour=meningioma")
    assert tumour.in_words(TASK) == "tumour: every image has a lesion, labelled glioma or meningioma"
    assert grade.negatives == ("grade=0",)


def test_the_user_may_name_the_negative_class_or_one_class_alone() -> None:
    assert lesions_of(TASK, ["tumour"], ["meningioma"])[0].labels == ("tumour=glioma",)
    one = lesions_of(TASK, ["label=malignant"])[0]
    assert (one.name, one.target, one.labels) == ("label=malignant", "label", ("label=malignant",))
    assert one.negatives == ("label=normal", "label=benign")


def test_benign_and_malignant_are_both_lesions_and_so_are_all_classes_where_the_user_says_so() -> None:
    breast, nodule = Task((Target("label", "binary", ("Benign", "Malignant")),)), Task((Target("nodule"),))
    assert lesions_of(breast)[0].is_either_class
    assert not lesions_of(nodule)[0].is_either_class
    assert lesions_of(nodule, [], ["none"])[0].in_words(nodule) == "nodule: every image has a lesion, labelled 0 or 1"
    assert lesions_of(nodule, [], ["none"])[0].truth(nodule, np.array([[0.0], [1.0], [np.nan]])).tolist()[:2] == [1, 1]
    assert np.isnan(lesions_of(breast)[0].truth(breast, np.array([[np.nan]]))).all()
    assert lesions_of(TASK, ["label"], ["none"])[0].labels == BREAST.label_names


def test_one_class_of_two_may_be_drawn_alone() -> None:
    breast = Task((Target("label", "binary", ("benign", "malignant")),))
    assert not lesions_of(breast, [], ["benign"])[0].is_either_class
    assert lesions_of(breast, ["label=malignant"])[0] == Lesion("label=malignant", "label", ("label",))
    none = Task((Target("label", "binary", ("none", "tumour")),))
    assert not lesions_of(none, [], ["none"])[0].is_either_class


def test_classes_are_called_negative_in_many_ways() -> None:
    classes = ("absent", "No_Tumor", "small", "no-lesion", "large")
    drawn = lesions_of(Task((Target("tumor", "multiclass", classes),)))[0]
    assert drawn.labels == ("tumor=small", "tumor=large")


def test_truth_is_known_where_the_label_is() -> None:
    truth = np.full((3, 5), np.nan)
    truth[:, 1] = [0, 2, np.nan]
    breast = lesions_of(TASK, ["label"])[0]
    np.testing.assert_array_equal(breast.truth(TASK, truth), [0, 1, np.nan])
    np.testing.assert_array_equal(lesions_of(TASK, ["label=benign"])[0].truth(TASK, truth), [0, 0, np.nan])


@pytest.mark.parametrize(
    ("wanted", "negatives", "message"),
    [
        (["nodul"], [], "Did you mean 'nodule'"),
        (["age"], [], "continuous"),
        ([], ["norml"], "Did you mean 'normal'"),
        (["tumour"], ["glioma", "meningioma"], "no class is left"),
    ],
)
def test_what_is_no_lesion_is_refused(wanted: list[str], negatives: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lesions_of(TASK, wanted, negatives)


def test_masks_are_worked_out_on_no_more_places_than_memory_likes() -> None:
    assert working_shape((64, 48)) == (64, 48)
    assert working_shape((512, 512)) == (128, 128)
    assert working_shape((128, 128, 32)) == (102, 102, 25)


def case(probability: float, *, predicted: bool = False, file: Path = Path("a.png")) -> LesionCase:
    square, whole = np.ones((8, 8), np.float32), (slice(0, 8), slice(0, 8))
    placement = Placement((8, 8), Box(0, 0, 8, 8), 8)
    item = Item("a", "a.png", file)
    return LesionCase(item, placement, square[np.newaxis], {}, square, whole, probability, predicted)


def seen(probabilities: np.ndarray) -> LabelledCases:
    """Return cases, every second one with a lesion; those without have a probability of 0."""
    known = np.arange(2 * len(probabilities)) % 2.0
    cases = [case(float(probabilities[i // 2]) if known[i] else 0.0) for i in range(len(known))]
    return LabelledCases(cases, known, None)  # type: ignore[arg-type]


def test_a_mask_is_drawn_where_the_model_finds_a_lesion_or_most_known_lesions_are_less_probable() -> None:
    gate = gate_of(seen(np.linspace(0.01, 1, 100)))
    assert gate == pytest.approx(0.0595)
    assert gate_of(seen(np.ones(FEWEST_LESIONS - 1))) == NO_GATE
    region = np.ones((8, 8))
    drawer = Drawer(lambda _: ({"vote": region, "supervised": region}, {"vote": 0.5}), {}, gate)
    for probability, predicted, is_drawn in ((0.06, False, True), (0.05, False, False), (0.05, True, True)):
        regions, confidences = drawn_regions(case(probability, predicted=predicted), drawer)
        assert regions["vote"].all() == regions["vote"].any() == is_drawn
        assert bool(confidences) == is_drawn
        assert regions["supervised"].all()


@pytest.mark.parametrize(("height", "expected"), [(0.22, 0.2), (0.9, 0.5)])
@pytest.mark.parametrize("n_lesions", [FEWEST_LESIONS, FEWEST_LESIONS - 1])
def test_a_u_net_draws_from_where_it_agrees_with_what_the_vote_chooses(
    monkeypatch: pytest.MonkeyPatch, height: float, expected: float, n_lesions: int
) -> None:
    region = np.zeros((8, 8), dtype=bool)
    region[2:6, 2:6] = True
    monkeypatch.setattr(by_vote.votes, "choose", lambda *_: Choice(region, 1.0))
    tune = replace(seen(np.ones(n_lesions)), cohort=SimpleNamespace(patient_ids=range(2 * n_lesions)))
    around = np.where(region, height, min(height, 0.45) / 1.2)
    found = by_vote.threshold_of([around] * 2 * n_lesions, tune, [MagicMock()] * 2 * n_lesions, Vote("dark"))
    assert found == (expected if n_lesions == FEWEST_LESIONS else 0.5)


def test_a_threshold_is_moved_to_a_half() -> None:
    net, image = UNet(1, 1), np.random.default_rng(0).normal(size=(1, 1, 16, 16)).astype(np.float32)
    before = predict_masks(net, image)
    level = float(np.median(before))
    move_threshold(net, level)
    np.testing.assert_array_equal(predict_masks(net, image) > 0.5, before > level)


@pytest.mark.parametrize(
    ("usual", "other", "gain", "written"),
    [
        (VOTE, DISTILLED, 0.06, DISTILLED),
        (VOTE, DISTILLED, 0.04, VOTE),
        (DISTILLED, VOTE, 0.06, VOTE),
        (DISTILLED, VOTE, 0.04, DISTILLED),
        (DISTILLED, VOTE, float("nan"), DISTILLED),
    ],
)
def test_labels_that_speak_clearly_choose_another_than_the_usual_method(usual, other, gain, written) -> None:
    evidence, errors = {usual: 0.8, other: 0.8 + gain}, {usual: 0.05, other: 0.5}
    drawers = [Drawer(lambda _: ({}, {}), {}, usual=usual, evidence=evidence, errors=errors)] * 2
    assert best_by_labels(drawers) == written


def test_lesions_of_an_image_are_measured_by_the_pixel_spacing_of_its_file(tmp_path: Path) -> None:
    file = saved(tmp_path, a_dataset(PixelSpacing=[0.7, 0.5]))
    assert case(0.5, file=file).spacing == (0.7, 0.5)
    assert case(0.5, file=file).affine is None
    assert case(0.5, file=saved(tmp_path, a_dataset())).spacing is None
