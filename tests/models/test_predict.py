"""Files streamed one after another get what a store of them gets; a bad one does not stop the rest."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focusmap.evaluation import Showing
from focusmap.images import Preparation, StoreOptions, prepare_store
from focusmap.models.net import Model
from focusmap.models.predict import flag_unlike, predict, predict_chunks
from focusmap.study import BLANK, Cohort, Samples, Study, flags_in_words
from focusmap.study import samples as reading
from support.models import model_of


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), generator.integers(0, 255, (30 + i, 40), dtype=np.uint8))
    return paths


def rows_of(model: Model, files: list[Path]) -> Cohort:
    """Return rows of these files, each named after its place."""
    table = pd.DataFrame({
        "row": range(2, len(files) + 2),
        "image_id": [f"{i}" for i in range(len(files))],
        "path": [file.name for file in files],
        "patient_id": "",
        # What a change is added to, where the model of the tests tells one.
        **{f"earlier_{target.name}": "0" for target in model.task.targets},
    })  # fmt: skip
    return Cohort(Study(Path("l.csv"), files[0].parent, model.task, "path"), table, table)


def test_a_stream_of_files_gives_what_the_store_gives(files: list[Path], tmp_path: Path) -> None:
    model = model_of()
    rows = rows_of(model, files)
    store = prepare_store(files, rows.image_ids, Preparation(size=32), tmp_path / "store", StoreOptions(workers=1))
    whole = predict(model, Samples.from_store(rows, store)).predictions.logits
    assert whole.shape == (7, 2)
    back = predict(model, Samples.from_store(rows.take(range(6, -1, -1)), store)).predictions
    assert list(back.ids["image_id"]) == rows.image_ids[::-1]
    assert np.allclose(back.logits, whole[::-1], atol=1e-5)
    streamed = list(predict_chunks(model, Samples.from_files(rows), n_rows=3))
    assert [name for one in streamed for name in one.rows.image_ids] == rows.image_ids
    assert np.allclose(np.concatenate([one.predictions.logits for one in streamed]), whole, atol=1e-4)
    assert predict(model, Samples.from_store(rows.take([]), store)).predictions.logits.shape == (0, 2)


def test_a_bad_file_is_reported_in_its_place(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    mixed = [files[0], tmp_path / "text.png", tmp_path / "absent.png", files[1]]
    model = model_of()
    samples = Samples.from_files(rows_of(model, mixed))
    found = predict(model, samples)
    assert found.rows.image_ids == ["0", "3"]
    assert [failure.image_id for failure in samples.failures] == ["1", "2"]
    assert [failure.file for failure in samples.failures] == mixed[1:3]
    assert "text.png" in samples.failures[0].reason
    assert "absent.png" in samples.failures[1].reason
    assert samples.n_done == len(samples) == 4


def test_files_are_read_only_a_little_ahead_of_what_is_answered(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    prepare = reading.prepare_file
    monkeypatch.setattr(reading, "prepare_file", lambda file, how: (read.append(file), prepare(file, how))[1])
    model = model_of()
    batches = Samples.from_files(rows_of(model, files * 20)).batches(model.preparations, 4)
    for _ in range(10):
        assert len(next(batches)) == 4
    batches.close()
    assert len(read) <= 40 + 3 * 4


def test_only_bad_files_give_only_reasons(tmp_path: Path) -> None:
    model = model_of()
    samples = Samples.from_files(rows_of(model, [tmp_path / "a.png", tmp_path / "b.png"]))
    assert not len(predict(model, samples))
    assert all(failure.reason for failure in samples.failures)
    assert len(samples.failures) == 2


def test_images_of_one_value_show_nothing_however_they_are_padded(files: list[Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((30, 40), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((30, 40, 3), (200, 0, 0), np.uint8))
    model = model_of()
    rows = rows_of(model, [files[0], tmp_path / "grey.png", tmp_path / "blue.png"])
    (batch,) = Samples.from_files(rows).batches(model.preparations, 3)
    images = batch.images(model.preparations[0])
    assert images.is_blank.tolist() == [False, True, True]
    assert [Showing().is_unlike(images, i) for i in range(3)] == [False, True, True]
    # One image of a case shows nothing: the others answer.
    of_cases = replace(batch, rows=rows.take([0, 1]), table=batch.table.assign(position=[0, 0, 1]))
    told = flag_unlike(of_cases, images, None)
    assert told is not None
    assert [flags_in_words(flags) for flags in told] == ["1 of its images show nothing", BLANK.text]
