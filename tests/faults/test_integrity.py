"""A byte that changed in a file of a run is found when the file is loaded, with one message; older runs still load."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from focusmap import load_model
from focusmap.basics import DiskError, FocusmapError, InputError, read_json
from focusmap.cli import main
from focusmap.evaluation import read_predictions
from focusmap.images import open_store
from focusmap.study import load_cohort, read_recipe, read_study
from focusmap.training import read_checkpoint
from support.models import unseal
from support.studies import phantom_study

FLIPS = 25


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integrity")
    labels = phantom_study(folder / "study", patients=24, images=48)
    model = ["--model", "small-residual", "--epochs", "1", "--size", "32", "--accept", "no-patient-column"]
    assert main(["train", str(labels), "--out", str(folder / "run"), *model]) == 0
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


LOADED: dict[str, Callable[[Path], object]] = {
    "model/weights.safetensors": lambda run: load_model(run / "model"),
    "model/model.json": lambda run: load_model(run / "model"),
    "cohort.csv": load_cohort,
    "study.yaml": lambda run: read_study(run / "study.yaml"),
    "recipe.yaml": lambda run: read_recipe(run / "recipe.yaml"),
    "checkpoint/last.safetensors": lambda run: read_checkpoint(run / "checkpoint/last.safetensors"),
    "predictions/test.csv": lambda run: read_predictions(run / "predictions/test.csv", load_cohort(run).task),
    "store": lambda run: open_store(run / "store"),
}


@pytest.mark.parametrize("name", LOADED)
def test_every_flipped_byte_is_found_at_load(run: Path, name: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    files = sorted(path for path in (run / name).rglob("*") if path.is_file()) if name == "store" else [run / name]
    LOADED[name](run)
    for _ in range(FLIPS):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        place = int(rng.integers(len(content)))
        changed = bytes([content[place] ^ (1 << int(rng.integers(8)))])
        file.write_bytes(content[:place] + changed + content[place + 1 :])
        with pytest.raises(FocusmapError) as caught:
            LOADED[name](run)
        assert len(str(caught.value)) < 600
        file.write_bytes(content)
    LOADED[name](run)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("model/weights.safetensors", ["predict", "{run}", "{image}"]),
        ("cohort.csv", ["evaluate", "{run}", "--force"]),
        ("predictions/test.csv", ["evaluate", "{run}", "--force"]),
    ],
)
def test_the_command_says_it_in_one_message(run: Path, whole: Path, name: str, command: list[str], capsys) -> None:
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    image = next((whole.parent / "study").rglob("*.png"))
    assert main([word.format(run=run, image=image) for word in command]) == 2
    said = capsys.readouterr().err
    assert Path(name).name in said
    assert "Traceback" not in said


def test_a_run_without_hashes_loads(run: Path) -> None:
    unseal(run)
    assert all(load(run) is not None for load in LOADED.values())


@pytest.mark.parametrize(
    "change",
    [
        {"temperatures": {"lesion": 0}},
        {"temperatures": {"lesion": -1.0}},
        {"temperatures": {"lesion": "1"}},
        {"thresholds": {"lesion": "0.5"}},
        {"probe": {"seed": 0, "side": 100_000, "logits": [0.0]}},
        {"probe": {"seed": "x", "side": 64, "logits": [0.0]}},
        {"scales": {"lesion": [1]}},
        {"training": []},
    ],
)
def test_implausible_values_are_refused(run: Path, change: dict[str, object]) -> None:
    from support.models import edit

    edit(run / "model", lambda card: card.update(change))
    with pytest.raises(InputError, match=r"was expected|were expected"):
        load_model(run / "model")


@pytest.mark.parametrize("text", ['{"a": ' * 100_000, '{"a": ' + "9" * 5000 + "}", "[" * 100_000])
def test_json_beyond_measure_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[" * 20_000, "a: " + "9" * 5000, "epochs: 2020-99-99"])
def test_yaml_beyond_measure_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml"):
        read_recipe(tmp_path / "a.yaml")


def test_a_lock_holds_beside_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    from focusmap.study import writing

    place = tmp_path / "run"
    ask = "import sys; from pathlib import Path; from focusmap.study.run import writing\n"
    ask += "with writing(Path(sys.argv[1])): pass"
    with writing(place), writing(place):
        asked = subprocess.run([sys.executable, "-c", ask, str(place)], capture_output=True, text=True, check=False)
        assert "another focusmap is writing there" in asked.stderr
    assert subprocess.run([sys.executable, "-c", ask, str(place)], check=False).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_remedy_for_a_full_disk_is_not_one_for_a_place_that_may_not_be_written(tmp_path: Path) -> None:
    from focusmap.basics import disk_errors

    remedies = {errno.ENOSPC: "Free some space", errno.EACCES: "made writable", errno.ENAMETOOLONG: "255"}
    for number, remedy in remedies.items():
        with pytest.raises(DiskError, match=remedy) as caught, disk_errors(tmp_path):
            raise OSError(number, "why")
        assert ("Free some space" in str(caught.value)) == (number == errno.ENOSPC)
