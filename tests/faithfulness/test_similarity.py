"""SSIM equals the paper's formula window by window in 2-D and 3-D, Spearman equals SciPy; empty maps are counted."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from focusmap.basics import InputError
from focusmap.faithfulness.randomisation import Shape, between_images, compare, pooled, spearman, structural_similarity


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return values / np.abs(values).max()


def ssim_by_window(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16, one window of 11 pixels a side after the other."""
    offsets = np.stack(np.meshgrid(*[np.arange(-5, 6)] * x.ndim, indexing="ij"))
    w = np.exp(-(offsets**2).sum(axis=0) / (2 * 1.5**2))
    w /= w.sum()
    found = []
    for corner in np.ndindex(tuple(n - 10 for n in x.shape)):
        place = tuple(slice(c, c + 11) for c in corner)
        mx, my = (w * x[place]).sum(), (w * y[place]).sum()
        vx, vy = (w * (x[place] - mx) ** 2).sum(), (w * (y[place] - my) ** 2).sum()
        cov = (w * (x[place] - mx) * (y[place] - my)).sum()
        luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        found.append(luminance * (2 * cov + 0.03**2) / (vx + vy + 0.03**2))
    return float(np.mean(found))


@pytest.mark.parametrize("shape", [(14, 17), (12, 13, 11)])
def test_ssim_equals_the_paper_window_by_window(shape):
    x, y = smooth(shape, 0), smooth(shape, 1)
    assert structural_similarity(Shape(x), Shape(x)) == pytest.approx(1)
    signed = structural_similarity(Shape(x), Shape(y))
    assert signed == pytest.approx(ssim_by_window((x + 1) / 2, (y + 1) / 2), abs=1e-9)
    positive = structural_similarity(Shape(x).absolute, Shape(y).absolute)
    assert positive == pytest.approx(ssim_by_window(np.abs(x), np.abs(y)), abs=1e-9)


def test_ssim_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = np.abs(smooth((30, 25), 0)), np.abs(smooth((30, 25), 1))
    theirs = metrics.structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    assert structural_similarity(Shape(x), Shape(y)) == pytest.approx(theirs)


def test_a_map_smaller_than_the_window_is_refused():
    with pytest.raises(InputError, match="at least 11 pixels"):
        structural_similarity(Shape(np.eye(10)), Shape(np.eye(10)))


def test_spearman_equals_scipy_with_ties():
    x, y = (np.random.default_rng(seed).integers(0, 5, (9, 9)).astype(float) for seed in (0, 1))
    assert spearman(Shape(x), Shape(y)) == pytest.approx(spearmanr(x.ravel(), y.ravel()).statistic)
    assert np.isnan(spearman(Shape(x), Shape(np.ones((9, 9)))))


def test_scale_does_not_matter_and_a_turned_sign_only_for_signed_maps():
    maps = np.stack([smooth((16, 16), seed) for seed in range(3)])
    scaled, turned = compare(maps, 7 * maps), compare(maps, -maps)
    np.testing.assert_allclose(scaled.signed.ssim, 1)
    assert turned.signed.median_ssim < 0
    assert turned.signed.median_spearman == pytest.approx(-1)
    np.testing.assert_allclose(turned.absolute.ssim, 1)


def test_an_empty_map_is_left_out_and_counted():
    maps = np.stack([smooth((16, 16), 0), np.zeros((16, 16))])
    found = compare(maps, maps).signed
    assert found.to_dict() == {"ssim": pytest.approx(1), "spearman": pytest.approx(1), "n": 1, "n_empty": 1}
    assert compare(maps[1:], maps[1:]).signed.to_dict() == {"ssim": None, "spearman": None, "n": 0, "n_empty": 1}


def test_only_images_of_the_same_label_are_compared():
    maps, labels = np.stack([smooth((16, 16), seed) for seed in range(5)]), [0, 1, 0, 1, 0]
    expected = [structural_similarity(Shape(maps[i]), Shape(maps[j])) for i, j in ((0, 2), (0, 4), (2, 4), (1, 3))]
    np.testing.assert_allclose(sorted(between_images(maps, labels).signed.ssim), sorted(expected))
    assert len(between_images(maps, range(5)).signed.ssim) == 0


def test_pooling_keeps_every_pair():
    maps = np.stack([smooth((16, 16), seed) for seed in range(2)])
    parts = [compare(maps, maps), compare(maps, maps[::-1])]
    assert pooled(parts).signed.ssim.tolist() == [*parts[0].signed.ssim, *parts[1].signed.ssim]
