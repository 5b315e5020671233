"""Overlays: colour only where there is evidence, the same scale everywhere, and legends that say so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusmap.figures.overlays import (
    LONG,
    Overlay,
    as_shown,
    blend,
    draw_overlay,
    layout_of,
    overlay_image,
)

GREY = np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (40, 1))


def _panels(overlay: Overlay) -> tuple[np.ndarray, np.ndarray]:
    layout = layout_of(*overlay.image.shape[-2:])
    pixels = np.asarray(overlay_image(overlay))
    cut = []
    for position in (0, 1):
        left, top = layout.corner(position)
        cut.append(pixels[top : top + layout.image[1], left : left + layout.image[0]])
    return cut[0], cut[1]


def test_blend_leaves_the_image_alone_where_the_map_is_low_or_negative() -> None:
    shown = as_shown(GREY)
    heat_map = np.full(GREY.shape, -3.0)
    assert np.array_equal(blend(shown, heat_map, 2.0), shown)
    heat_map[10, 10] = 2.0
    assert (blend(shown, heat_map, 2.0) != shown).any(axis=2).sum() == 1


def test_equal_evidence_has_equal_colour_in_every_overlay() -> None:
    weak, strong = np.zeros(GREY.shape), np.zeros(GREY.shape)
    weak[20, 30] = strong[20, 30] = 1.0
    strong[5, 5] = 8.0
    shown = as_shown(GREY)
    assert np.array_equal(blend(shown, weak, 4.0)[20, 30], blend(shown, strong, 4.0)[20, 30])


def test_left_panel_is_untouched_and_colour_is_only_on_the_right() -> None:
    heat_map = np.zeros(GREY.shape, np.float32)
    heat_map[10:20, 10:20] = 5
    left, right = _panels(Overlay(GREY, heat_map, "caption", 5.0))
    assert np.ptp(left.astype(int), axis=2).max() == 0
    assert np.ptp(right.astype(int), axis=2).max() > 80


@pytest.mark.parametrize("heat_map", [None, np.full(GREY.shape, -1.0), np.zeros(GREY.shape)])
def test_no_evidence_shows_the_image_and_words_instead_of_noise(heat_map: np.ndarray | None) -> None:
    left, right = _panels(Overlay(GREY, heat_map, "caption", 1.0))
    upper = slice(0, left.shape[0] // 2)
    assert np.array_equal(left[upper], right[upper])
    assert not np.array_equal(left, right)


def test_the_words_in_place_of_a_map_are_those_of_the_overlay() -> None:
    of_evidence, of_label = (
        _panels(Overlay(GREY, None, "caption", 1.0, absent=words))[1]
        for words in ("no evidence", "not predicted: no map")
    )
    assert not np.array_equal(of_evidence, of_label)


def test_outline_follows_a_mask_that_touches_the_border() -> None:
    mask = np.zeros(GREY.shape, bool)
    mask[:15, :15] = True
    heat_map = np.full(GREY.shape, 1e-9)
    left, right = _panels(Overlay(GREY, heat_map, "caption", 1.0, outline=mask))
    changed = (left != right).any(axis=2)
    assert changed[:, 0].any()
    assert changed[0].any()
    assert not changed[LONG // 2 :, LONG // 2 :].any()


@pytest.mark.parametrize("shape", [(8, 8), (1, 300), (300, 20), (3, 50, 70)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_every_shape_and_number_type_is_written(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    image = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    draw_overlay(tmp_path / "a.png", Overlay(image, np.ones(shape[-2:]), "<b>$x$ & 'y'</b> " * 40, 1.0))
    with Image.open(tmp_path / "a.png") as image:
        assert image.width <= 2 * LONG + 200
        assert image.height <= LONG + 100


def test_the_same_overlay_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_overlay(tmp_path / name, Overlay(GREY, np.eye(40, 60), "caption", 1.0))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_nan_in_map_and_constant_image() -> None:
    assert as_shown(np.full((4, 4), 7.0)).max() == 0
    assert np.array_equal(blend(as_shown(GREY), np.full(GREY.shape, np.nan), 1.0), as_shown(GREY))
