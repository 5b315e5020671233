"""Images at addresses: those of fsspec's memory and of its local file system are the images on the disk."""

from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.images import Preparation
from focusmap.study import Declaration, Samples, Target, Task
from focusmap.study.addresses import address_of, fetch, local_samples, settled_folder
from focusmap.study.inputs import image_columns
from support.studies import phantom_study

TASK, PREPARATION = Task((Target("nodule", "binary"),)), Preparation(size=32)


def shown(samples: Samples) -> np.ndarray:
    return np.concatenate([batch.images(PREPARATION).prepared for batch in samples.batches([PREPARATION], 8)])


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return phantom_study(tmp_path / "study", patients=8, images=12, size=28)


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_images_at_an_address_are_those_on_the_disk(labels: Path, scheme: str) -> None:
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    address = f"file://{labels.parent}"
    if scheme == "memory":
        address = "memory://archive/films"
        memory = fsspec.filesystem("memory")
        for path in rows["path"]:
            memory.pipe_file(f"/archive/films/{path}", (labels.parent / path).read_bytes())
    near = image_columns(labels.parent, labels, rows, Declaration())
    far = image_columns(labels.parent, labels, rows, Declaration(images=Path(address)))
    with local_samples(far, rows, TASK) as samples:
        files = samples.files
        pixels = shown(samples)
    with local_samples(near, rows, TASK) as samples:
        np.testing.assert_array_equal(pixels, shown(samples))
    assert not any(file.exists() for file in files), "they are here for as long as they are needed"


def test_what_is_not_there_is_noted_by_its_name(labels: Path) -> None:
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    (labels.parent / rows["path"].iloc[3]).unlink()
    far = image_columns(labels.parent, labels, rows, Declaration(images=Path(f"file://{labels.parent}")))
    with local_samples(far, rows, TASK) as samples:
        assert len(shown(samples)) == 11
    (failure,) = samples.failures
    path, reason = failure.row
    assert path == rows["path"].iloc[3]
    assert "focusmap-" not in reason


def test_what_cannot_be_reached_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", down)
    with pytest.raises(InputError, match=r"memory://x/a\.png: cannot be fetched \(connection refused\).*--resume"):
        fetch("memory://x", ["a.png"], tmp_path)


def test_an_address_without_its_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere://x: cannot be opened \(Protocol not known"):
        fetch("nowhere://x", ["a.png"], tmp_path)


def test_a_folder_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address_of(tmp_path) is None
    assert settled_folder(Path("images")) == tmp_path / "images"
    assert settled_folder(Path("gs://a/b")) == Path("gs://a/b")
