"""A model at hand answers strings, paths, lists and tables, and shows what it says in a notebook."""

import base64
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import focusmap
from focusmap.basics import InputError, MissingFileError
from focusmap.models.folder import save_model
from support.models import model_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(model_of(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "film <b>.png")
    return tmp_path / "film <b>.png"


def test_one_image_is_answered_in_words_whether_named_by_a_string_or_a_path(folder: Path, film: Path) -> None:
    model = focusmap.load_model(str(folder))
    by_text, by_path = model.predict(str(film)), model.predict(film)
    assert by_text.table.equals(by_path.table)
    assert "nodule: " in by_text.words
    assert len(by_text) == 1
    assert by_text.probability("nodule") == pytest.approx(by_text.table["nodule"])


def test_lists_and_tables_give_a_row_each(folder: Path, film: Path) -> None:
    model = focusmap.load_model(folder)
    listed = model.predict([film, str(film)])
    assert listed.table["image_id"].tolist() == [film.name] * 2
    pd.DataFrame({"path": [film.name], "image_id": ["a"]}).to_csv(film.parent / "films.csv", index=False)
    told = model.predict(film.parent / "films.csv")
    assert told.table["image_id"].tolist() == ["a"]
    assert told.probability("nodule")[0] == pytest.approx(listed.probability("nodule")[0], rel=1e-5)


def test_what_cannot_be_read_stands_beside_the_answers(folder: Path, film: Path) -> None:
    (film.parent / "text.png").write_text("no image")
    answers = focusmap.load_model(folder).predict([film, film.parent / "text.png"])
    assert [failure.file.name for failure in answers.failures] == ["text.png"]
    assert len(answers) == 1
    assert "text.png" in answers._repr_html_()


def images_in(page: str) -> list[bytes]:
    return [base64.b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]


def test_an_answer_shows_itself_with_its_image_and_nothing_from_elsewhere(folder: Path, film: Path) -> None:
    page = focusmap.load_model(folder).predict(film)._repr_html_()
    assert "nodule: " in page
    assert [content[:8] for content in images_in(page)] == [b"\x89PNG\r\n\x1a\n"]
    assert "film &lt;b&gt;.png" in page
    assert "<b>" not in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_maps_have_the_grid_of_the_image_and_show_themselves(folder: Path, film: Path) -> None:
    maps = focusmap.load_model(folder).explain(str(film), method="cam")
    assert [one.label for one in maps.maps] == ["nodule", "size"]
    assert maps.of("nodule")[0].values.shape == (40, 60)
    assert len(images_in(maps._repr_html_())) == 1 + sum(bool(one.overlay) for one in maps.maps)
    assert "nodule: " in maps._repr_html_()
    assert len(focusmap.load_model(folder).explain(film, method="cam", targets=["size"])) == 1


def test_what_it_cannot_do_is_said(folder: Path, film: Path) -> None:
    model = focusmap.load_model(folder)
    with pytest.raises(InputError, match="is not one of"):
        model.explain(film, method="magic")
    with pytest.raises(MissingFileError, match="no such file"):
        model.predict("absent.png")
