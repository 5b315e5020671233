"""Images read by workers of a cluster: the audit and the store of one machine, whatever is killed on the way."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import focusmap
from focusmap.audit import images
from focusmap.basics import InputError, silent
from focusmap.cli import main
from focusmap.images import Preparation, StoreOptions, prepare_store, workers
from focusmap.scale import Cluster, mapped
from support.cluster import a_worker_killed, in_its_own_process, killed_in
from support.studies import phantom_study

TWO = Cluster(n_workers=2)
ON_RAY = ["--engine", "ray", "--workers", "2"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A study of 96 images, one of which is broken."""
    found = phantom_study(tmp_path / "study", patients=24, images=96, size=28)
    broken = found.parent / pd.read_csv(found, dtype=str)["path"].iloc[40]
    broken.write_bytes(b"no image")
    return found


def test_an_address_is_that_of_a_cluster_for_which_nodes_are_idle() -> None:
    assert focusmap.RunOptions(address="here:6379").cluster == Cluster("here:6379")
    assert focusmap.RunOptions(address="here:6379").alone.cluster is None
    with pytest.raises(InputError, match="--nodes divides one training"):
        focusmap.RunOptions(engine="ray", n_nodes=2)


@pytest.mark.slow
@in_its_own_process
def test_answers_keep_their_order_whatever_is_killed(tmp_path: Path) -> None:
    def deadly(file: Path) -> str:
        if file.name in ("0.png", "101.png") and not (mark := tmp_path / file.name).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return file.name

    files = [Path(f"{k}.png") for k in range(200)]
    assert list(mapped(deadly, files, 4, TWO)) == [file.name for file in files]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@in_its_own_process
def test_workers_prepare_the_store_of_one_machine(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["prepare", str(labels), "--skip-unreadable", "--size", "32", "--model", "resnet18", "--out"]
    shares = tmp_path / "ray/store/.shares"
    with a_worker_killed(monkeypatch, lambda: any(shares.glob("[!.]*.npz"))):
        assert main([*asked, str(tmp_path / "ray"), *ON_RAY]) == 0
    assert main([*asked, str(tmp_path / "one")]) == 0
    one, ray = (next((tmp_path / name / "store").glob("*/pixels.npy")).parent for name in ("one", "ray"))
    assert one.name == ray.name, "the same images, contents and preparation"
    for name in ("pixels.npy", "store.json"):
        assert (one / name).read_bytes() == (ray / name).read_bytes()
    for name in ("split.csv", "cohort.csv", "audit.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes(), name
    assert not shares.exists()
    unread = pd.read_parquet(tmp_path / "ray/store/failures.parquet")
    assert unread["image_id"].tolist() == [pd.read_csv(labels, dtype=str)["path"].iloc[40]]


def prepared(labels: Path, store: Path, progress: Callable[[str, int, int], None]) -> np.ndarray:
    # 48 shares: more than workers may be ahead of what is taken from them.
    workers.SHARE = 2
    cohort = focusmap.read_cohort(labels)
    options = StoreOptions(skip_unreadable=True, progress=progress, cluster=TWO)
    return prepare_store(cohort.files, cohort.image_ids, Preparation(size=32), store, options).pixels


def die(doing: str, done: int, total: int) -> None:
    if (doing, done) == ("preparing images", 20):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@in_its_own_process
def test_a_killed_preparation_goes_on_where_it_was(labels: Path, tmp_path: Path) -> None:
    killed_in(prepared, labels, tmp_path / "store", die)
    done = sorted((tmp_path / "store/.shares").glob("[!.]*.npz"))
    assert 10 <= len(done) < 48
    with np.load(done[0]) as arrays:
        changed = {**arrays, "pixels": np.full_like(arrays["pixels"], 77)}
    np.savez(done[0], **changed)
    pixels = prepared(labels, tmp_path / "store", silent)
    assert len(pixels) == 95
    assert 1 <= int((pixels == 77).all(axis=(1, 2, 3)).sum()) <= 2, "what was done is taken as it is"


@pytest.mark.slow
@in_its_own_process
def test_workers_audit_as_one_machine_does(labels: Path, tmp_path: Path) -> None:
    assert main(["audit", str(labels), "--out", str(tmp_path / "one")]) == 0
    assert main(["audit", str(labels), "--out", str(tmp_path / "ray"), *ON_RAY]) == 0
    one, ray = (json.loads((tmp_path / name / "audit.json").read_text()) for name in ("one", "ray"))
    assert one == ray
    assert one["overview"]["images"]["n_unreadable"] == 1
    assert len(pd.read_parquet(tmp_path / "ray/failures.parquet")) == 1
    assert not (tmp_path / "one/failures.parquet").exists()


def audited(labels: Path, out: Path, progress: Callable[[str, int, int], None]) -> None:
    # 48 shares: more than workers may be ahead of what is taken from them.
    images.SHARE = 2
    options = focusmap.RunOptions(engine="ray", workers=2, progress=progress)
    focusmap.audit(focusmap.read_cohort(labels), out, options)


def die_looking(doing: str, done: int, total: int) -> None:
    if (doing, done) == ("looking at images", 20):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@in_its_own_process
def test_a_killed_audit_goes_on_where_it_was(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    killed_in(audited, labels, out, die_looking)
    done = sorted((out / ".looks").glob("[!.]*.json"))
    assert 10 <= len(done) < 48
    done[0].write_text(json.dumps([{**look, "mode": "as it was"} for look in json.loads(done[0].read_text())]))
    audited(labels, out, silent)
    seen = json.loads((out / "audit.json").read_text())["overview"]["images"]
    assert 1 <= seen["modes"]["as it was"] <= 2, "what was looked at is taken as it is"
    assert seen["n_unreadable"] == 1
    assert not (out / ".looks").exists()
