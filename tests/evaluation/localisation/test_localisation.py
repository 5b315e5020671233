"""Maps of a folder are scored beside the baselines: planted lesions are found, missed ones counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.cli.show_results import print_scores
from focusmap.cli.show_study import boxes_in_words, masks_in_words
from focusmap.evaluation.localisation.reference import Reference, read_boxes
from focusmap.evaluation.localisation.scoring import Explained, FrozenThresholds, score_maps
from focusmap.evaluation.localisation.summary import (
    NO_HITS,
    NO_MEAN_MASK,
    NO_REGION,
    Scored,
    ScoreOptions,
    centre_map,
    edges_map,
    mean_mask,
    random_map,
    summarise,
)
from focusmap.phantom import FINDINGS, Phantom, PhantomOptions, make_phantom, write_phantom
from focusmap.study import Cohort, read_cohort


def scores_of(folder, cohort):
    return score_maps([Explained(folder, Reference(cohort))], folder / "scores.json", ScoreOptions(n_resamples=20))


def test_baselines_point_where_they_should():
    corner = np.zeros((40, 20), bool)
    corner[:10, :5] = True
    found = np.unravel_index(mean_mask([corner, corner, np.zeros((3, 3), bool)]).argmax(), (64, 64))
    assert found[0] < 16
    assert found[1] < 16
    assert np.unravel_index(centre_map((41, 21)).argmax(), (41, 21)) == (20, 10)
    step = np.zeros((3, 8, 8))
    step[:, :, 4:] = 100
    assert set(np.unique(np.argwhere(edges_map(step) > 0)[:, 1])) == {3, 4}
    np.testing.assert_array_equal(random_map((4, 4), (0, 3)), random_map((4, 4), (0, 3)))
    assert mean_mask([np.zeros((3, 3), bool)]) is None


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Phantom, Cohort]:
    phantom = make_phantom(PhantomOptions(n_patients=16, n_images=48, size=32))
    labels = write_phantom(phantom, tmp_path_factory.mktemp("study"))
    return phantom, read_cohort(labels)


def write_explained(folder: Path, phantom: Phantom, cohort: Cohort, *, shift: int = 0, miss: int = 0) -> None:
    """Maps that are the masks themselves, moved by `shift` pixels; the first `miss` positives are not predicted."""
    rows = []
    (folder / "maps").mkdir(parents=True)
    for finding in FINDINGS:
        for i, image_id in enumerate(cohort.image_ids):
            name = f"maps/{i}.{finding}.npz"
            heat_map = np.roll(phantom.masks[finding][i], shift, axis=0).astype(np.float32)
            np.savez(folder / name, map=heat_map)
            rows.append((image_id, finding, "cam", name, True, cohort.truth[i, FINDINGS.index(finding)] == 1))
    table = pd.DataFrame(rows, columns=["image_id", "target", "method", "map", "has_evidence", "predicted"])
    table.loc[table.index[table["predicted"]][:miss], "predicted"] = False
    table.to_csv(folder / "index.csv", index=False)


def test_perfect_maps_score_one_and_beat_every_baseline(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort)
    reference = Reference(cohort)
    scores = score_maps(
        [Explained(tmp_path, reference, reference)], tmp_path / "scores.json", ScoreOptions(n_resamples=50)
    )
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    assert set(scores["methods"]) == {"cam", "mean_mask", "centre", "edges", "picture_only", "random"}
    assert set(scores["by_target"]) == set(FINDINGS)
    cam = scores["methods"]["cam"]
    assert cam["pointing_hit"]["value"] == cam["iou"]["value"] == cam["dice"]["value"] == 1
    assert cam["n"] == int(np.nansum(cohort.truth))
    for baseline in ("mean_mask", "centre", "edges", "picture_only", "random"):
        assert scores["methods"][baseline]["n"] == cam["n"]
        assert scores["methods"][baseline]["iou"]["high"] < 0.6
    assert cam["minus_mean_mask"]["auprc"]["low"] > 0
    assert scores["methods"]["random"]["pointing_hit"]["value"] < 0.2
    assert scores["masks_used_for_tuning"] == 0


def test_the_scores_of_each_map_are_written_one_by_one(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort, miss=4)
    scores = scores_of(tmp_path, cohort)
    table = pd.read_csv(tmp_path / "scores.csv")
    cam = table[table["method"] == "cam"]
    assert len(cam) == int(np.nansum(cohort.truth))
    assert set(table["method"]) == set(scores["methods"])
    assert cam.loc[cam["predicted"], "auprc"].mean() == pytest.approx(scores["methods"]["cam"]["auprc"]["value"])


def test_a_frozen_cut_is_used_for_its_label_and_its_method(planted, tmp_path):
    """The maps are masks of 0 and 1: a threshold of 1 gives the lesion, one above nothing, to the baselines too."""
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort)
    thresholds = FrozenThresholds("cam", {FINDINGS[0]: 1.0, FINDINGS[1]: 1.5}, n_masks=3)
    explained = Explained(tmp_path, Reference(cohort), thresholds=thresholds)
    scores = score_maps([explained], tmp_path / "scores.json", ScoreOptions(n_resamples=20))
    right, high = (scores["by_target"][finding] for finding in FINDINGS[:2])
    assert right["cam"]["iou_at_cut"]["value"] == right["cam"]["dice_at_cut"]["value"] == 1
    assert 0 < right["random"]["iou_at_cut"]["value"] < 0.2
    assert {high[name]["iou_at_cut"]["value"] for name in high} == {0}
    assert all("iou_at_cut" not in scores["by_target"][finding]["cam"] for finding in FINDINGS[2:])
    assert scores["masks_used_for_tuning"] == 3


def test_several_methods_share_their_baselines(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort)
    index = pd.read_csv(tmp_path / "index.csv")
    pd.concat([index, index.assign(method="focus")]).to_csv(tmp_path / "index.csv", index=False)
    methods = scores_of(tmp_path, cohort)["methods"]
    assert {name: entry["n"] for name, entry in methods.items()} == dict.fromkeys(methods, methods["cam"]["n"])
    assert methods["focus"] == methods["cam"]


def scored(values: dict[str, float], patient: str = "a", *, size: float = 0.1, predicted: bool = True) -> Scored:
    """One positive whose maps have these average precisions, and pointing game and IoU at 1."""
    others = {"pointing_hit": 1.0, "iou": 1.0, "energy_ratio": 1.0, "chance": size}
    return Scored("i", patient, "l", predicted, {name: {**others, "auprc": x} for name, x in values.items()})


def test_means_leave_the_missed_out_and_of_positives_takes_them_as_empty_maps():
    found = summarise([scored({"cam": 0.5}), scored({"cam": 0.7}, "b"), scored({"cam": 0.9}, "c", predicted=False)])
    cam = found["methods"]["cam"]
    assert (cam["n"], cam["n_false_negative"], cam["n_patients"]) == (2, 1, 2)
    assert cam["auprc"]["value"] == pytest.approx(0.6)
    assert cam["auprc_of_positives"]["value"] == pytest.approx((0.5 + 0.7 + 0.1) / 3)
    assert cam["pointing_hit_of_positives"]["value"] == cam["iou_of_positives"]["value"] == pytest.approx(2 / 3)


def test_the_difference_to_the_mean_mask_is_paired_and_clustered_by_patient():
    """Images differ by much, the two maps of one image always by 0.1: the means are unsure, the difference is not."""
    rng = np.random.default_rng(0)
    rows = [scored({"cam": x + 0.1, "mean_mask": x}, str(i // 2)) for i, x in enumerate(rng.random(40))]
    methods = summarise(rows, ScoreOptions(n_resamples=200))["methods"]
    difference = methods["cam"]["minus_mean_mask"]["auprc"]
    assert [difference[key] for key in ("value", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
    assert methods["cam"]["auprc"]["low"] < methods["mean_mask"]["auprc"]["high"]
    assert "minus_mean_mask" not in methods["mean_mask"]
    one = summarise([scored({"cam": 0.5, "mean_mask": 0.4}), scored({"cam": 0.6, "mean_mask": 0.4})])["methods"]["cam"]
    assert one["minus_mean_mask"]["auprc"]["reason"] == "too few patients, or too few of a class, to resample"


def test_a_label_without_a_mean_mask_is_left_out_of_the_difference_only():
    rows = [scored({"cam": 0.5, "mean_mask": 0.4}), scored({"cam": 0.9}, "b")]
    cam = summarise(rows)["methods"]["cam"]
    assert cam["auprc"]["value"] == pytest.approx(0.7)
    assert cam["minus_mean_mask"]["auprc"]["value"] == pytest.approx(0.1)


def test_what_is_undefined_says_why_and_what_was_not_compared_has_no_answer(capsys):
    """The one label whose lesions train marks was missed; then none was found; then all maps are flat."""
    found, missed = scored({"cam": 0.5}), scored({"cam": 0.5, "mean_mask": 0.4}, "b", predicted=False)
    scores = summarise([found, missed])
    methods = scores["methods"]
    assert methods["mean_mask"]["auprc"]["reason"] == NO_MEAN_MASK
    assert methods["cam"]["minus_mean_mask"]["auprc"]["reason"] == NO_MEAN_MASK
    print_scores(scores)
    printed = capsys.readouterr().out
    assert f"cam better than the mean mask: pixel AUPRC - ({NO_MEAN_MASK})" in printed
    assert "no true positive" not in printed
    assert summarise([missed])["methods"]["mean_mask"]["auprc"]["reason"] == NO_HITS
    flat = replace(found, measures={"cam": {**found.measures["cam"], "miou": np.nan}})
    assert summarise([flat])["methods"]["cam"]["miou"]["reason"] == NO_REGION
    assert summarise([flat])["methods"]["cam"]["miou"]["reason_code"] == NO_REGION.code


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Planted: images of a patient alike, so that resampling images would be far too sure."""
    rng, held = np.random.default_rng(1), []
    for _ in range(100):
        means = rng.normal(0.5, 0.1, 40)
        rows = [scored({"cam": x}, str(i)) for i, mean in enumerate(means) for x in rng.normal(mean, 0.02, 5)]
        found = summarise(rows, ScoreOptions(n_resamples=200))["methods"]["cam"]["auprc"]
        held.append(found["low"] <= 0.5 <= found["high"])
    assert 0.87 <= np.mean(held) <= 1


def test_lesions_are_split_in_thirds_by_size():
    sizes = np.linspace(0.01, 0.3, 30)
    found = summarise([scored({"cam": x}, str(x), size=x) for x in sizes])["by_size"]
    assert {name: found[name]["methods"]["cam"]["n"] for name in found} == {"small": 10, "medium": 10, "large": 10}
    assert found["small"]["to"] < found["medium"]["from"] < found["medium"]["to"] < found["large"]["from"]
    assert found["small"]["methods"]["cam"]["auprc"]["value"] == pytest.approx(sizes[:10].mean())
    assert set(summarise([scored({"cam": 0.5}), scored({"cam": 0.6}, "b")])["by_size"]) == {"small"}


def test_missed_positives_are_counted_and_are_misses(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort, miss=4)
    cam = scores_of(tmp_path, cohort)["methods"]["cam"]
    n = int(np.nansum(cohort.truth))
    assert (cam["n"], cam["n_false_negative"]) == (n - 4, 4)
    assert cam["pointing_hit"]["value"] == 1
    assert cam["pointing_hit_of_positives"]["value"] == pytest.approx((n - 4) / n)


def test_maps_beside_the_lesion_and_maps_without_evidence_miss(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path / "beside", phantom, cohort, shift=16)
    beside = scores_of(tmp_path / "beside", cohort)["methods"]["cam"]
    assert beside["pointing_hit"]["value"] < 0.1
    write_explained(tmp_path / "none", phantom, cohort)
    index = pd.read_csv(tmp_path / "none/index.csv").assign(has_evidence=False)
    index.to_csv(tmp_path / "none/index.csv", index=False)
    none = scores_of(tmp_path / "none", cohort)["methods"]["cam"]
    assert none["pointing_hit"]["value"] == none["iou"]["value"] == 0


def test_boxes_are_matched_by_name_and_never_guessed(planted, tmp_path):
    _, cohort = planted
    first = cohort.image_ids[0]
    (tmp_path / "boxes.csv").write_text(
        f"image_id,finding,x,y,w,h\n{first},nodule,2.5,1,3,2\n{first},nodule,20,20,4,4\n"
        f"{first},Nodul,1,1,2,2\nelsewhere,cavity,1,1,2,2\n"
    )
    boxes = read_boxes(tmp_path / "boxes.csv", cohort)
    assert boxes.unmatched == ("Nodul",)
    assert boxes.nearest == {"Nodul": "nodule"}
    assert boxes.n_elsewhere == 1
    mask = Reference(cohort, boxes).mask(first, "nodule", (32, 32))
    assert mask.sum() == 4 * 2 + 4 * 4
    assert mask[1, 2]
    assert not mask[0, 2]


def test_what_scores_maps_is_said_before_anything_is_learnt(planted, tmp_path):
    _, cohort = planted
    first = cohort.image_ids[0]
    (tmp_path / "boxes.csv").write_text(
        f"image_id,finding,x,y,w,h\n{first},nodule,1,1,4,4\n{first},nodule,9,9,4,4\nnobody,nodule,1,1,4,4\n"
    )
    boxed = replace(cohort, study=replace(cohort.study, boxes_file=tmp_path / "boxes.csv"))
    assert boxes_in_words(boxed) == "2 in 1 images; used to score heat maps; 1 are of images that the table lacks"
    assert boxes_in_words(replace(boxed, study=replace(boxed.study, path_column=None))) == ""
    (tmp_path / "boxes.csv").write_text("image_id,finding,x,y,w,h\nnobody,Nodul,1,1,4,4\n")
    assert boxes_in_words(boxed).startswith("none finds its image")
    assert boxes_in_words(boxed).endswith("no label is called Nodul. Did you mean 'nodule'?")
    assert boxes_in_words(cohort) == ""
    n = (cohort.table["mask_nodule"] != "").sum()
    assert f"{n} in mask_nodule" in masks_in_words(cohort)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,finding,x,y,w\na,nodule,1,1,1\n", r"boxes.csv: lacks the column\(s\) h"),
        ("image_id,finding,x,y,w,h\na,nodule,1,1,0,1\n", "boxes.csv row 2: 1, 1, 0, 1 is not a box"),
        ("image_id,finding,x,y,w,h\na,nodule,.1,.2,.5,1\n", "seem to be shares of the images"),
        ("image_id,finding,x,y,w,h\na,nodule,1,?,2,1\n", "row 2: 1, ?, 2, 1 is not a box".replace("?", r"\?")),
    ],
)
def test_wrong_boxes_are_named_with_their_row(planted, tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path / "boxes.csv", planted[1])


def test_a_mask_of_another_shape_is_an_error(planted):
    phantom, cohort = planted
    i = int(np.flatnonzero(phantom.masks["nodule"].any(axis=(1, 2)))[0])
    with pytest.raises(InputError, match="the mask has 32 x 32 pixels"):
        Reference(cohort).mask(cohort.image_ids[i], "nodule", (30, 32))
