"""Near-duplicates of many images: faiss finds the pairs that are found when all are compared."""

import numpy as np
import pytest

from focusmap.audit import near
from focusmap.audit.near import VIEWS, near_pairs


def planted(n: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return thumbnails of smooth fields, after them a view of every fiftieth, and which is whose."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (n, 8, 8))
    fields = np.kron(coarse, np.ones((4, 4)))
    for axis in (1, 2):
        fields = (np.roll(fields, 1, axis) + np.roll(fields, -1, axis) + 2 * fields) / 4
    fields = np.clip(127 + 45 * fields, 0, 255).astype(np.float32)
    made_of = list(range(0, n, 50))
    copies = []
    for k, position in enumerate(made_of):
        view = VIEWS[k % len(VIEWS)]
        seen = view.of(fields[position : position + 1])[0]
        seen = 255 + seen if view.sign < 0 else seen
        copies.append(np.clip(seen * rng.uniform(0.85, 1.05) + rng.normal(0, 2, seen.shape), 0, 255))
    whose = [(position, n + k) for k, position in enumerate(made_of)]
    return np.concatenate([fields, np.stack(copies)]).astype(np.uint8), whose


@pytest.mark.slow
def test_lists_give_the_pairs_of_the_whole_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    thumbnails, whose = planted(3000)
    usable = np.ones(len(thumbnails), bool)
    exact = near_pairs(thumbnails, usable)
    monkeypatch.setattr(near, "LARGEST_EXACT", 0)
    monkeypatch.setattr(near, "_all_above", None)
    assert near_pairs(thumbnails, usable) == exact
    found = {(pair.a, pair.b) for pair in exact}
    assert len(found & set(whose)) > 0.8 * len(whose), "and these are the planted ones"


def test_what_is_not_usable_is_in_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(near, "LARGEST_EXACT", 0)
    thumbnails, whose = planted(200)
    usable = np.ones(len(thumbnails), bool)
    usable[whose[0][1]] = False
    pairs = near_pairs(thumbnails, usable)
    assert all(whose[0][1] not in (pair.a, pair.b) for pair in pairs)
    assert pairs


def test_without_faiss_all_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails, _ = planted(50)
    usable = np.ones(len(thumbnails), bool)
    found = near_pairs(thumbnails, usable)
    monkeypatch.setattr(near, "LARGEST_EXACT", 10)
    monkeypatch.setattr(near, "find_spec", lambda _: None)
    assert near_pairs(thumbnails, usable) == found != []
