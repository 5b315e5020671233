"""`focusmap explain --trust`: files, words, other runs, and what is refused."""

import json
import shutil

import pytest
import torch

from focusmap.cli import main
from focusmap.models import load_model
from focusmap.models.folder import save_model
from support.models import unseal
from support.studies import phantom_study

pytestmark = pytest.mark.slow

NET = ["--model", "small-residual", "--weights", "none", "--workers", "1"]
FEW = ["--trust", "--trust-images", "4", "--trust-draws", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trusting")
    labels = phantom_study(folder, patients=20, images=60, size=32)
    assert main(["run", str(labels), "--out", str(folder / "run"), *NET, "--size", "32", "--epochs", "2"]) == 0
    _speak_louder(folder / "run/model")
    return folder / "run"


def _speak_louder(folder):
    """Scale the maps of a net that two epochs have taught too little to have any evidence."""
    model = load_model(folder)
    with torch.no_grad():
        model.net.head.weight *= 100
    save_model(model, folder)


def trust_in(folder):
    return json.loads((folder / "trust.json").read_text())


def test_trust_is_written_said_and_reported(run, capsys):
    assert main(["explain", str(run), *FEW, "--trust-method", "gradcam", "--trust-method", "cam"]) == 0
    said = capsys.readouterr().out
    assert "gradcam passes" in said
    assert "trust.html" in said
    trust = trust_in(run / "focus")
    assert list(trust["methods"]) == ["gradcam", "cam"]
    assert trust["n_maps"] == 4
    assert (run / "focus/trust.html").is_file()
    assert main(["report", str(run)]) == 0
    assert "gradcam passes" in (run / "report.html").read_text()
    assert main(["explain", str(run)]) == 0
    assert not (run / "focus/trust.json").exists()
    assert not (run / "focus/trust.html").exists()


def test_other_runs_show_repeatability_and_shuffled_labels(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    out = tmp_path / "maps"
    asked = ["--against", str(other), "--shuffled", str(other), "--out", str(out)]
    assert main(["explain", str(run), *FEW, *asked]) == 0
    cam = trust_in(out)["methods"]["cam"]
    assert cam["repeatability"]["value"] == pytest.approx(1)
    assert cam["label-randomisation"]["passes"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trust-images", "4"], "add --trust"),
        (["--against", "nowhere"], "add --trust"),
        (["--trust", "--trust-images", "1"], "at least 2"),
        (["--trust", "--trust-draws", "0"], "at least 2"),
        (["--trust", "--trust-method", "gradcamm"], "Did you mean 'gradcam'"),
        (["--trust", "--against", "nowhere"], "no such run"),
        (["--trust", "--shuffled", "nowhere"], "no such run"),
        (["film.png", "--out", "maps", "--trust"], "name a label file"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_costs_no_maps(run, options, message, capsys):
    assert main(["explain", str(run)]) == 0
    maps = sorted((run / "focus/maps").iterdir())
    capsys.readouterr()
    assert main(["explain", str(run), *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted((run / "focus/maps").iterdir()) == maps


def test_a_model_of_other_labels_is_refused(run, tmp_path, capsys):
    other = shutil.copytree(run / "model", tmp_path / "other")
    card = other / "model.json"
    card.write_text(card.read_text().replace('"nodule"', '"node"'))
    unseal(other)
    assert main(["explain", str(run), "--trust", "--against", str(other), "--out", str(tmp_path / "maps")]) == 2
    assert "does not know nodule" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_maps_of_a_trained_net_pass_and_edges_do_not(tmp_path):
    labels = phantom_study(tmp_path, patients=40, images=160, size=64)
    run = tmp_path / "run"
    assert main(["run", str(labels), "--out", str(run), *NET, "--size", "64", "--epochs", "8"]) == 0
    assert main(["explain", str(run), "--trust"]) == 0
    trust = trust_in(run / "focus")
    assert [name for name, verdict in trust["methods"]["cam"].items() if not verdict["passes"]] == []
    assert trust["controls"]["edges"]["randomisation"]["passes"] is False
    assert trust["controls"]["random"]["road"]["passes"] is False
