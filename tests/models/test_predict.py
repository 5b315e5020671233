"""Files streamed one after another get what a store of them gets; a bad one does not stop the rest."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from focusmap.images.prepare import Preparation
from focusmap.images.store import StoreOptions, prepare_store
from focusmap.models.predict import PredictOptions, predict_files, predict_store
from support.models import model_of


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), generator.integers(0, 255, (30 + i, 40), dtype=np.uint8))
    return paths


def test_a_stream_of_files_gives_what_the_store_gives(files: list[Path], tmp_path: Path) -> None:
    model = model_of()
    names = [file.stem for file in files]
    store = prepare_store(files, names, Preparation(size=32), tmp_path / "store", StoreOptions(workers=1))
    whole = predict_store(model, store, names)
    assert whole.shape == (7, 2)
    assert np.array_equal(predict_store(model, store, names[::-1]), whole[::-1]) or np.allclose(
        predict_store(model, store, names[::-1]), whole[::-1], atol=1e-5
    )
    streamed = list(predict_files(model, files, PredictOptions(batch_size=3)))
    assert [item.file for item in streamed] == files
    assert np.allclose([item.logits for item in streamed], whole, atol=1e-4)
    assert predict_store(model, store, []).shape == (0, 2)


def test_a_bad_file_is_reported_in_its_place(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    mixed = [files[0], tmp_path / "text.png", tmp_path / "absent.png", files[1]]
    found = list(predict_files(model_of(), mixed))
    assert [item.logits is None for item in found] == [False, True, True, False]
    assert "text.png" in found[1].reason
    assert "absent.png" in found[2].reason


def test_an_endless_stream_is_answered_bit_by_bit(files: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[taken % len(files)]

    stream = predict_files(model_of(), endless(), PredictOptions(batch_size=4))
    for _ in range(40):
        assert next(stream).logits is not None
    stream.close()
    assert taken <= 40 + 3 * 4


def test_only_bad_files_give_only_reasons(tmp_path: Path) -> None:
    found = list(predict_files(model_of(), [tmp_path / "a.png", tmp_path / "b.png"]))
    assert all(item.logits is None and item.reason for item in found)
