"""What train looks like: its own kind is let through, other kinds are named, and nothing hangs on brightness."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import mahalanobis

from focusmap.basics import ModelError
from focusmap.models.ood import (
    ASPECTS,
    FEWEST,
    UNLIKE,
    cells,
    fit_ood,
    ood_of_any,
    read_ood,
    save_ood,
)
from focusmap.phantom import PhantomOptions, make_phantom


def images(n, dimensions=2, seed=0):
    options = PhantomOptions(n_patients=n, n_images=n, size=32, dimensions=dimensions, seed=seed)
    return list(make_phantom(options).images[:, np.newaxis])


@pytest.fixture(scope="module")
def own():
    return images(240)


@pytest.fixture(scope="module")
def ood(own):
    return fit_ood(own[:140], own[140:190])


def test_images_of_the_same_kind_are_let_through(own, ood):
    assert np.mean([bool(ood.unlike(image)) for image in own[190:]]) <= 0.06


@pytest.mark.parametrize(
    "change",
    [
        lambda image: 255 - image,
        lambda image: np.zeros_like(image),
        lambda image: np.random.default_rng(0).integers(0, 256, image.shape),
        lambda image: np.roll(image, image.shape[-1] // 2, axis=-1),
    ],
    ids=["inverted", "blank", "noise", "shifted"],
)
def test_other_kinds_are_named(own, ood, change):
    said = [ood.unlike(change(image)) for image in own[190:220]]
    assert np.mean([text.startswith(UNLIKE) for text in said]) > 0.9


def test_brightness_and_contrast_change_nothing(own):
    for describe in ASPECTS.values():
        np.testing.assert_allclose(describe(own[0]), describe(own[0].astype(np.float32) * 0.013 - 1.7), atol=0.02)


def test_a_colour_cast_is_seen_where_train_has_three_channels(own):
    grey = [np.repeat(image, 3, axis=0) for image in own]
    rng = np.random.default_rng(1)
    tinted = [np.clip(image * (1 + rng.normal(0, 0.02, (3, 1, 1))), 0, 255) for image in grey]
    ood = fit_ood(tinted[:140], tinted[140:190])
    red = grey[200] * np.array([1.0, 0.3, 0.3])[:, np.newaxis, np.newaxis]
    assert "grey values" in ood.unlike(red)
    assert not ood.unlike(tinted[200])


def test_the_distance_is_that_of_mahalanobis(own, ood):
    for name, (aspect,) in ood.aspects.items():
        descriptions = np.stack([ASPECTS[name](image) for image in own[:5]])
        slow = [mahalanobis(row, aspect.centre, aspect.precision) for row in descriptions]
        np.testing.assert_allclose(aspect.distances(descriptions), slow)


def test_cells_are_means_also_where_sides_do_not_divide():
    values = np.arange(35.0).reshape(5, 7)
    assert cells(values, 2).shape == (2, 2)
    np.testing.assert_allclose(cells(values, 2)[0, 0], values[:2, :3].mean())
    np.testing.assert_array_equal(cells(values, 99), values)


def test_volumes_too_are_compared():
    volumes = images(60, dimensions=3)
    ood = fit_ood(volumes[:30], volumes[30:55])
    assert ood.unlike(255 - volumes[56])


def test_an_image_may_be_like_the_train_of_any_fold(own):
    inverted = [255 - image for image in own]
    one, other = (fit_ood(kind[:140], kind[140:190]) for kind in (own, inverted))
    both = ood_of_any([one, other])
    for kind in (own, inverted):
        assert np.mean([bool(both.unlike(image)) for image in kind[190:]]) <= 0.06
    assert both.unlike(np.zeros_like(own[0]))


def test_what_does_not_fit_together_is_damaged_and_other_descriptions_are_of_no_use(ood, tmp_path):
    save_ood(ood, tmp_path / "likeness")
    arrays = load_file(tmp_path / "likeness")
    save_file({**arrays, "layout.centre": arrays["layout.centre"][:, :-1]}, tmp_path / "cut")
    with pytest.raises(ModelError, match="is damaged"):
        read_ood(tmp_path / "cut")
    save_file({**arrays, "version": np.array(99)}, tmp_path / "newer")
    assert read_ood(tmp_path / "newer") is None


def test_too_few_images_say_nothing(own):
    assert fit_ood(own[: FEWEST - 1], own[:60]) is None
    assert fit_ood(own[:60], own[: FEWEST - 1]) is None


def test_it_is_read_as_it_was_saved_and_a_damaged_one_is_named(own, ood, tmp_path):
    save_ood(ood, tmp_path / "likeness")
    back = read_ood(tmp_path / "likeness")
    for name, (aspect,) in ood.aspects.items():
        np.testing.assert_array_equal(back.aspects[name][0].precision, aspect.precision)
        assert back.aspects[name][0].limit == aspect.limit
    assert read_ood(tmp_path / "none") is None
    (tmp_path / "likeness").write_bytes((tmp_path / "likeness").read_bytes()[:500])
    with pytest.raises(ModelError, match="is damaged"):
        read_ood(tmp_path / "likeness")
