"""Trust is measured for every method and control, repeatably, and says what it could not judge."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from focusmap.basics import InputError
from focusmap.faithfulness.plan import Subject, TrustPlan, choose_maps, method_maps, panel_of
from focusmap.faithfulness.randomisation import compare
from focusmap.faithfulness.trust import JUDGES, measure_trust
from focusmap.heatmaps import Item, heat_maps
from focusmap.models import Model
from focusmap.nets import Architecture, build_net, on_grid
from focusmap.study import Target, Task
from support.models import model_of

QUICK = TrustPlan(n_draws=4)
AB = Task((Target("a"), Target("b")))


def model(seed: int = 0, size: int = 32, task: Task = AB) -> Model:
    architecture = Architecture("small-residual", 1, task.n_logits)
    card = replace(
        model_of().card, task=task, architecture=architecture.to_dict(), preparation={"size": size},
        thresholds={}, temperatures={}, scales={},
    )  # fmt: skip
    return Model(build_net(architecture, seed=seed).eval(), card)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """Six maps of four wide images of two labels."""
    rng, found, folder = np.random.default_rng(0), [], tmp_path_factory.mktemp("subjects")
    for i in range(4):
        file = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (40, 60), dtype=np.uint8)).save(file)
        found.append(Subject(Item(str(i), file.name, file), f"p{i}", "a", predicted=True))
    return [*found, *(replace(subject, label="b", predicted=False) for subject in found[:2])]


@pytest.mark.slow
def test_every_criterion_is_judged_for_methods_and_controls_and_the_same_each_time(subjects):
    trust = measure_trust(model(), subjects, QUICK)
    assert trust == measure_trust(model(), subjects, QUICK)
    assert json.loads(json.dumps(trust, allow_nan=False)) == trust
    assert set(trust["methods"]) == {"cam"}
    assert set(trust["controls"]) == {"edges", "random"}
    for entry in (*trust["methods"].values(), *trust["controls"].values()):
        assert list(entry) == list(JUDGES) == list(trust["criteria"])
    assert (trust["n_maps"], trust["n_pictures"], trust["n_patients"], trust["n_predicted"]) == (6, 4, 4, 4)


def test_edges_fail_randomisation_noise_has_no_faithful_map_and_the_net_stays_as_it_is(subjects):
    judged = model()
    before = {name: value.clone() for name, value in judged.net.state_dict().items()}
    controls = measure_trust(judged, subjects, QUICK)["controls"]
    assert all(torch.equal(value, before[name]) for name, value in judged.net.state_dict().items())
    edges = controls["edges"]["randomisation"]
    assert edges["passes"] is False
    assert edges["value"] == pytest.approx(1)
    assert edges["n"] == 18, "six maps against three random nets"
    assert controls["random"]["randomisation"]["passes"] is True
    assert controls["random"]["max-sensitivity"]["passes"] is False


def test_another_seed_is_repeatability_in_the_same_grid_and_another_architecture_is_reproducibility(subjects):
    larger, draw, same = model(size=48), method_maps("cam"), model()
    other = Model(same.net, replace(same.card, architecture={"model": "resnet18", "channels": 1, "n_logits": 2}))
    plan = replace(QUICK, others=(larger, other), shuffled=model(seed=5))
    cam = measure_trust(model(), subjects, plan)["methods"]["cam"]
    theirs = on_grid(draw(panel_of(larger, subjects))[:, None], (32, 32))[:, 0]
    expected = compare(draw(panel_of(model(), subjects)).numpy(), theirs.numpy())
    assert cam["repeatability"]["similarity"] == expected.to_dict()
    assert cam["label-randomisation"]["value"] is not None
    assert cam["reproducibility"]["value"] == pytest.approx(1)
    assert cam["reproducibility"]["passes"] is True


def test_a_model_that_does_not_know_the_label_and_an_unknown_method_are_refused(subjects):
    stranger = model(task=Task((Target("a"), Target("c"))))
    with pytest.raises(InputError, match="cannot be asked about 'b'"):
        measure_trust(model(), subjects, replace(QUICK, others=(stranger,)))
    with pytest.raises(InputError, match="Did you mean 'gradcam'"):
        measure_trust(model(), subjects, replace(QUICK, methods=("grad-cam",)))


def test_with_one_image_nothing_is_judged_and_it_says_why(subjects):
    trust = measure_trust(model(), subjects[:1], QUICK)
    assert trust["methods"] == {}
    assert "fewer than two" in trust["reason"]


def test_maps_are_those_of_the_label_asked_for(subjects):
    panel = panel_of(model(), subjects)
    maps = method_maps("cam")(panel)
    cams = heat_maps(panel.model.net, panel.batch).maps
    for i, column in enumerate(panel.columns.tolist()):
        torch.testing.assert_close(maps[i], on_grid(cams[i, column][None, None], (32, 32))[0, 0])
        logits = panel.model.net(panel.batch).detach()
        assert panel.logit(panel.batch)[i] == pytest.approx(float(logits[i, column]), rel=1e-5)
        assert panel.probability(panel.batch)[i] == pytest.approx(float(logits[i, column].sigmoid()), rel=1e-4)


def test_labels_take_turns_predicted_ones_and_new_patients_come_first():
    index = pd.DataFrame({
        "target": ["a"] * 6 + ["b"] * 2, "predicted": [True] * 4 + [False] * 2 + [False, True],
        "has_evidence": [True] * 5 + [False] + [True] * 2, "patient_id": list("ppqrstuv"),
    })  # fmt: skip
    for seed in range(5):
        chosen = choose_maps(index, 5, seed)
        assert [sorted(chosen["target"].iloc[i : i + 2]) for i in (0, 2, 4)] == [["a", "b"], ["a", "b"], ["a"]]
        assert sorted(chosen.loc[chosen["target"] == "a", "patient_id"]) == ["p", "q", "r"]
        assert list(chosen.loc[chosen["target"] == "b", "predicted"]) == [True, False]
        assert len(choose_maps(index, 99, seed)) == 7
