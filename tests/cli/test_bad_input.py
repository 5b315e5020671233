"""Bad input at the door: one message with place and remedy, exit code 2, no traceback, nothing half-written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from support.options import QUICK, quick


@pytest.fixture
def refused(tmp_path, capsys):
    """Run ``focusmap run`` and return what it says on stderr; exit code 2 and no model are asserted."""

    def run(labels, *options):
        code = main(["run", str(labels), "--out", str(tmp_path / "run"), *QUICK, *options])
        said = capsys.readouterr().err
        assert code == 2, said
        assert "Traceback" not in said
        assert not (tmp_path / "run/model").exists()
        return said

    return run


def first_image(study):
    return sorted((study.parent / "images").glob("*.png"))[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes|empty"), (b"some words", "is a text, not an image"), (b"\x89PNG\r\n\x1a\n1234", "PNG")],
)
def test_an_image_that_is_none_is_named(study, refused, content, message):
    import re

    first_image(study).write_bytes(content)
    said = refused(study)
    assert first_image(study).name in said
    assert re.search(message, said)
    assert "--skip-unreadable" in said


def test_a_truncated_image_is_named(study, refused):
    image = first_image(study)
    image.write_bytes(image.read_bytes()[:-200])
    assert image.name in refused(study)


def test_a_mask_of_another_shape_is_named_before_anything_is_trained(study, refused, tmp_path, capsys):
    table = pd.read_csv(study, dtype=str, keep_default_na=False)
    masks = [study.parent / name for name in table["mask_nodule"] if name][:2]
    for mask in masks:
        cv2.imwrite(str(mask), np.full((20, 30), 255, np.uint8))
    said = refused(study)
    assert all(mask.name in said for mask in masks)
    assert "20 x 30 pixels" in said
    assert "32 x 32" in said
    assert "in its image's own grid" in said
    assert main(["audit", str(study), "--out", str(tmp_path / "audit")]) == 0
    assert "mask-shape: 2 masks" in capsys.readouterr().out


def test_a_finding_that_is_answered_blocks_in_no_words(study, tmp_path, capsys):
    asked = ["audit", str(study), "--out", str(tmp_path / "audit"), "--patient"]
    assert main([*asked, "none"]) == 0
    said = capsys.readouterr().out
    assert "accepted  no-patient-column" in said
    assert "blocking" not in said


def test_unreadable_images_can_be_left_out(study, tmp_path):
    first_image(study).write_bytes(b"")
    command = ["run", str(study), "--out", str(tmp_path / "run"), *quick("histogram+logistic")]
    assert main([*command, "--skip-unreadable"]) == 0
    assert first_image(study).name not in (tmp_path / "run/cohort.csv").read_text()


def test_a_header_that_claims_a_huge_image_is_refused(study, refused):
    image = first_image(study)
    data = bytearray(image.read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    image.write_bytes(data)
    assert "100" in refused(study)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "nodul"], "Did you mean 'nodule'"),
        (["--patient", "patient"], "Did you mean 'patient_id'"),
        (["--images", "nowhere"], "no such folder"),
        (["--folds", "40"], "fold"),
        (["--folds", "2"], "3 or more"),
        (["--threshold-for", "accurcy"], "Did you mean 'accuracy'"),
        (["--model", "resnet17"], "Did you mean 'resnet18'"),
        (["--recipe", "none.yaml"], "none.yaml"),
        (["--preset", "chest"], "Did you mean 'chest-xray'"),
        (["--ensemble", "0"], "at least 1"),
        (["--model", "mixer_s32_224"], "takes no images of 32 pixels"),
        (["--weights", "none.pth"], "none.pth"),
    ],
)
def test_a_wrong_option_is_named(study, refused, options, message):
    assert message in refused(study, *options)


def test_a_recipe_with_a_misspelt_key_is_named(study, refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text("epocs: 3\n")
    assert "Did you mean 'epochs'" in refused(study, "--recipe", str(tmp_path / "recipe.yaml"))


def test_one_class_only_is_named(study, refused, capsys):
    table = study.read_text().splitlines()
    column = table[0].split(",").index("nodule")
    rows = [row.split(",") for row in table[1:]]
    study.write_text("\n".join([table[0], *(",".join([*r[:column], "0", *r[column + 1 :]]) for r in rows)]))
    assert "nothing to tell apart" in refused(study, "--target", "nodule")
    capsys.readouterr()
    assert main(["audit", str(study), "--target", "nodule", "--out", str(study.parent / "audited")]) == 0
    assert "Nothing can be learnt here" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["audit", "none.csv"], ["report", "none"], ["predict", "none", "a.png"]])
def test_what_is_not_there_is_named(arguments, capsys):
    assert main(arguments) == 2
    assert arguments[1] in capsys.readouterr().err


def test_a_dicom_without_pixels_is_named(study, refused):
    from pydicom.data import get_testdata_file

    image = first_image(study)
    image.write_bytes(Path(str(get_testdata_file("rtplan.dcm"))).read_bytes())
    assert image.name in refused(study)


def test_a_damaged_model_is_named(trained, study, capsys):
    image = str(first_image(study))
    card = trained / "model/model.json"
    written = card.read_bytes()
    values = json.loads(written)
    hashes = card.with_name("hashes.json")
    sealed = hashes.read_text()
    card.write_text(json.dumps({**values, "format": 99}))
    assert main(["predict", str(trained), image]) == 2
    assert "was changed or damaged" in capsys.readouterr().err
    hashes.unlink()
    assert main(["predict", str(trained), image]) == 2
    assert "Update focusmap" in capsys.readouterr().err
    hashes.write_text(sealed)
    card.write_bytes(written)
    weights = trained / "model/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert main(["predict", str(trained), image]) == 2
    assert "weights.safetensors" in capsys.readouterr().err


def test_a_checkpoint_cut_in_half_is_named(trained, capsys):
    checkpoint = trained / "checkpoint/last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    (trained / "predictions/tune.csv").unlink()
    assert main(["train", "--resume", str(trained)]) == 2
    assert "last.safetensors" in capsys.readouterr().err


def test_a_split_that_was_edited_is_named(trained, capsys):
    split = trained / "split.csv"
    split.write_text(split.read_text().replace("test", "train", 1))
    (trained / "predictions/tune.csv").unlink()
    assert main(["train", "--resume", str(trained)]) == 2
    assert "split.csv" in capsys.readouterr().err


@pytest.mark.parametrize("setting", [["--ensemble", "2"], ["--folds", "3"], ["--target", "nodule"], ["--seed", "1"]])
def test_a_training_that_goes_on_is_not_told_of_other_settings(setting, tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path), *setting]) == 2
    assert "leave out the options of the study" in capsys.readouterr().err


def test_a_run_that_was_stopped_in_its_folds_is_kept_and_can_go_on(study, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "folds/0/checkpoint").mkdir(parents=True)
    for name in ("study.yaml", "recipe.yaml", "split.csv"):
        (run / name).touch()
    assert main(["train", str(study), "--out", str(run), *QUICK]) == 2
    assert f"go on with: focusmap run --resume {run}" in capsys.readouterr().err


def test_a_training_that_goes_on_finds_the_store_that_it_shares(study, tmp_path):
    run, shared = tmp_path / "run", tmp_path / "shared"
    assert main(["prepare", str(study), "--out", str(run), "--store", str(shared), *QUICK]) == 0
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "model").is_dir()
    assert not (run / "store").exists()


def test_to_prepare_is_no_matter_of_several_nodes(study, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", str(study), "--out", str(tmp_path / "run"), "--nodes", "2"])
    assert "unrecognized arguments: --nodes 2" in capsys.readouterr().err


def test_maps_are_kept_where_a_net_refuses_the_copies_asked_for(trained, tmp_path, capsys, monkeypatch):
    from focusmap.nets import FocusNet

    maps = ["explain", str(trained), "--out", str(tmp_path / "maps")]
    assert main(maps) == 0
    index, features = (tmp_path / "maps/index.csv").read_text(), FocusNet.features

    def of_one_size(net, x):
        if x.shape[-1] == 24:
            raise RuntimeError("32 pixels were expected")
        return features(net, x)

    monkeypatch.setattr(FocusNet, "features", of_one_size)
    assert main([*maps, "--method", "cam@sizes", "--force"]) == 2
    assert "takes no images of 24 x 24 (32 pixels were expected)" in capsys.readouterr().err
    assert (tmp_path / "maps/index.csv").read_text() == index


def test_ctrl_c_says_how_to_go_on(study, tmp_path, capsys, monkeypatch):
    import focusmap as verbs

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for verb in ("train", "resume", "audit"):
        monkeypatch.setattr(verbs, verb, interrupted)
    for words in ([str(study), "--out", str(tmp_path / "run"), *QUICK], ["--resume", str(tmp_path / "run")]):
        assert main(["train", *words]) == 130
        assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert main(["audit", str(study), "--out", str(tmp_path / "audited")]) == 130
    assert "interrupted. The same command goes on." in capsys.readouterr().err


def test_a_full_disk_is_named(study, tmp_path, capsys, monkeypatch):
    import errno

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["audit", str(study), "--out", str(tmp_path / "audit"), "--workers", "1"]) == 2
    assert "No space left" in capsys.readouterr().err


def test_images_of_16_bits_and_colour_go_through(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,patient_id,Mass"]
    for i in range(40):
        grey = i % 2
        shape = (32, 40) if grey else (32, 40, 3)
        pixels = rng.integers(0, 60_000 if grey else 255, shape).astype(np.uint16 if grey else np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
        rows.append(f"{i}.png,p{i},{i // 2 % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    accept = ["--accept", "source-shortcut"]
    assert main(["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), *QUICK, *accept]) == 0
    assert "channels: 3" in (tmp_path / "run/recipe.yaml").read_text()


def test_an_image_is_no_label_file(study, tmp_path, capsys):
    image = next(study.parent.rglob("*.png"))
    assert main(["run", str(image), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "is an image; a label file was expected" in said
    assert f"focusmap predict RUN {image}" in said


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("run labels.csv --epoch 3", "unrecognized arguments: --epoch 3. Did you mean '--epochs'?"),
        ("run labels.csv --budget 1,5", "argument --budget: '1,5' is not a number such as 1.5."),
        ("run labels.csv --epochs ten", "argument --epochs: 'ten' is not a whole number."),
        ("run labels.csv --shape 96,x,24", "argument --shape: '96,x,24' is not of the form N,N,N."),
        ("run labels.csv \u2013-out run", "begins with a dash, as text programs write it. Type two hyphens: --out."),
        ("run labels.csv \u2014out run", "begins with a dash, as text programs write it. Type two hyphens: --out."),
        ("adit labels.csv", "'adit' is not a command. Did you mean 'audit'?"),
        ("predict", "the following arguments are required: RUN, IMAGE|LABELS.csv."),
    ],
)  # fmt: skip
def test_what_is_wrongly_typed_is_said_in_one_line(typed, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(typed.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("focusmap")
    assert said.count("\n") == 1
