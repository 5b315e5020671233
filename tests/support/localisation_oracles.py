"""The measures of localisation, slow and pixel by pixel, from their definitions."""

from itertools import pairwise

import numpy as np

Pixels = list[tuple[float, bool]]


def pixels_of(heat_map: np.ndarray, mask: np.ndarray) -> Pixels:
    return [(float(value), bool(inside)) for value, inside in zip(heat_map.ravel(), mask.ravel(), strict=True)]


def pointing_hit(pixels: Pixels) -> float:
    highest = max(value for value, _ in pixels)
    if all(value == highest for value, _ in pixels):
        return 0.0
    hits = [inside for value, inside in pixels if value == highest]
    return sum(hits) / len(hits)


def chance(pixels: Pixels) -> float:
    return sum(inside for _, inside in pixels) / len(pixels)


def energy_pointing(pixels: Pixels) -> float:
    total = sum(max(value, 0) for value, _ in pixels)
    return sum(max(value, 0) for value, inside in pixels if inside) / total if total else 0.0


def rank_accuracy(pixels: Pixels) -> float:
    """Ties are broken against the mask and for it; an order drawn at random lies in between by its share inside."""
    n = sum(inside for _, inside in pixels)
    last = sorted((value for value, _ in pixels), reverse=True)[n - 1]
    above = [inside for value, inside in pixels if value > last]
    tied = [inside for value, inside in pixels if value == last]
    return (sum(above) + (n - len(above)) * sum(tied) / len(tied)) / n


def pixel_auprc(pixels: Pixels) -> float:
    """Sum over falling cuts of (recall - recall before) * precision."""
    n = sum(inside for _, inside in pixels)
    points = [(0.0, 0.0)]
    for cut in sorted({value for value, _ in pixels}, reverse=True):
        called = [inside for value, inside in pixels if value >= cut]
        points.append((sum(called) / n, sum(called) / len(called)))
    return sum((after[0] - before[0]) * after[1] for before, after in pairwise(points))


def iou_at(pixels: Pixels, cut: float) -> float:
    both = sum(value >= cut and inside for value, inside in pixels)
    return both / sum(value >= cut or inside for value, inside in pixels)


def dice_at(pixels: Pixels, cut: float) -> float:
    both = sum(value >= cut and inside for value, inside in pixels)
    return 2 * both / (sum(value >= cut for value, _ in pixels) + sum(inside for _, inside in pixels))


def best_iou(pixels: Pixels) -> float:
    return max(iou_at(pixels, cut) for cut, _ in pixels)
