"""The pair loss equals the paper's sum over all pairs, its gradient that of autograd; sampling does not bend it."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from focusmap.segmentation import pairs
from focusmap.segmentation.pairs import (
    LEAST_SQUARE,
    PairSampling,
    draw_pairs,
    pair_loss,
    sampled_pair_loss,
    similarity,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def written_out(features: Tensor, labels: Tensor, pairs: list[tuple[int, int]] | None = None) -> Tensor:
    """The loss pair by pair, from the definition of S."""
    found: dict[str, list[Tensor]] = {"lesion": [], "background": [], "different": []}
    for p, q in pairs or combinations(range(len(features)), 2):
        s = 2 / (1 + torch.exp((features[p] - features[q]).square().sum().clamp(min=1e-6)))
        kinds = {(1, 1): "lesion", (0, 0): "background", (0, 1): "different"}
        kind = kinds.get(tuple(sorted((int(labels[p]), int(labels[q])))))
        if kind:
            found[kind].append(-torch.log(1 - s) if kind == "different" else -torch.log(s))
    weights = {"lesion": 1 / 4, "background": 1 / 4, "different": 1 / 2}
    return sum(weights[kind] * torch.stack(terms).mean() for kind, terms in found.items() if terms)


def test_equal_features_are_alike_and_likeness_falls_with_the_distance() -> None:
    squares = torch.tensor([0.0, 1e-12, LEAST_SQUARE, 2e-6, 1e-3, 0.1, 1.0, 10.0], dtype=torch.float64)
    s = similarity(squares)
    assert s[0] == pytest.approx(1, abs=1e-5)
    assert s[0] == s[1] == s[2]
    assert (s[2:].diff() < 0).all()


@pytest.mark.parametrize("tile", [(2, 3), (7, 5), (128, 512)])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_and_its_gradient_are_those_of_all_pairs(
    tile: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "TILE", tile)
    features = torch.randn(17, 3, dtype=torch.float64, generator=generator(seed), requires_grad=True)
    labels = torch.randint(-1, 2, (17,), generator=generator(seed))
    expected = written_out(features, labels)
    torch.testing.assert_close(pair_loss(features, labels), expected)
    (slow,) = torch.autograd.grad(expected, features)
    (fast,) = torch.autograd.grad(pair_loss(features, labels), features)
    torch.testing.assert_close(fast, slow)
    assert (fast[labels == -1] == 0).all()


def test_the_gradient_passes_a_numerical_check() -> None:
    labels = torch.tensor([1, 0, 0, 1, -1, 1, 0, 0])
    features = torch.randn(8, 4, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: pair_loss(f, labels), features)
    in_image = features.T.reshape(4, 2, 4).detach().requires_grad_()
    sampling = PairSampling(50)
    assert torch.autograd.gradcheck(
        lambda f: sampled_pair_loss(f, labels.view(2, 4), sampling, generator()).double(),
        in_image,
        atol=1e-2,
        eps=1e-3,
    )


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("square", [0.0, 1e-12, 1e4])
def test_no_distance_is_too_small_or_too_large(precision: torch.dtype, square: float) -> None:
    features = torch.tensor([[0.0], [math.sqrt(square)], [0.0], [math.sqrt(square)]], dtype=precision).requires_grad_()
    labels = torch.tensor([1, 1, 0, 0])
    loss = pair_loss(features, labels)
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert similarity(torch.tensor(square, dtype=precision)).isfinite()
    sampled = sampled_pair_loss(features.detach().T.requires_grad_(), labels, PairSampling(20), generator())
    assert sampled.isfinite()


def learnt(loss_of: object, n_steps: int = 300) -> tuple[float, Tensor]:
    """Forty free features after some steps of Adam, half of them lesion: the loss, and squared distances."""
    features = (0.5 * torch.randn(40, 4, generator=generator())).requires_grad_()
    labels = torch.arange(40) % 2
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(n_steps):
        loss = loss_of(features, labels)  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach()), torch.cdist(features.detach(), features.detach()).square()


def wrong_sign(features: Tensor, labels: Tensor) -> Tensor:
    """The formula that circulates: D = 1 / (1 + exp(-|f_p - f_q|^2)), log D on same and log(1 - D) on other pairs."""
    squares = (features[:, None] - features[None]).square().sum(dim=-1)
    same, apart = labels[:, None] == labels, torch.triu(torch.ones(40, 40, dtype=torch.bool), 1)
    log_d, log_not_d = -torch.nn.functional.softplus(-squares), -torch.nn.functional.softplus(squares)
    lesion, background = same & (labels == 1) & apart, same & (labels == 0) & apart
    return -log_d[lesion].mean() / 4 - log_d[background].mean() / 4 - log_not_d[~same & apart].mean() / 2


def test_the_right_sign_parts_lesion_from_background_and_the_wrong_one_stays_at_ln_2() -> None:
    labels = torch.arange(40) % 2
    same = (labels[:, None] == labels) & ~torch.eye(40, dtype=torch.bool)
    right, squares = learnt(pair_loss)
    assert right < 0.02
    assert squares[same].mean() < 0.01
    assert squares[labels[:, None] != labels].mean() > 3
    wrong, squares = learnt(wrong_sign)
    assert wrong == pytest.approx(math.log(2), abs=0.01)
    assert squares[labels[:, None] != labels].mean() < 2 * squares[same].mean() + 0.1


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 3)])
@pytest.mark.parametrize("radius", [None, 1.5])
def test_a_sample_of_pairs_is_right_on_average(shape: tuple[int, ...], radius: float | None) -> None:
    """Against the sum over all pairs, or over all that lie near, written out."""
    n = math.prod(shape)
    features = torch.randn(3, *shape, generator=generator(1))
    labels = torch.randint(-1, 2, shape, generator=generator(2))
    places = torch.stack(torch.unravel_index(torch.arange(n), shape), dim=1).float()
    near = [(p, q) for p, q in combinations(range(n), 2) if not radius or torch.dist(places[p], places[q]) <= radius]
    expected = float(written_out(features.flatten(1).T, labels.flatten(), near))
    drawn = generator(3)
    values = torch.tensor(
        [float(sampled_pair_loss(features, labels, PairSampling(400, radius), drawn)) for _ in range(200)]
    )
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / math.sqrt(200)


def test_drawn_pairs_are_of_their_kind_near_each_other_and_balanced() -> None:
    labels = torch.randint(-1, 2, (6, 7, 5), generator=generator())
    places = torch.stack(torch.unravel_index(torch.arange(labels.numel()), labels.shape), dim=1).float()
    for kind, wanted in (("lesion", (1, 1)), ("background", (0, 0)), ("different", (1, 0))):
        first, second = draw_pairs(labels, kind, PairSampling(500, radius=2), generator())  # type: ignore[arg-type]
        assert len(first) > 50
        assert (labels.flatten()[first] == wanted[0]).all()
        assert (labels.flatten()[second] == wanted[1]).all()
        far = (places[first] - places[second]).norm(dim=1)
        assert 0 < far.min() <= far.max() <= 2


def test_where_no_pair_is_near_there_is_nothing_to_learn_and_no_error() -> None:
    labels = torch.full((6, 6), -1)
    labels[0, 0], labels[5, 5] = 1, 0
    features = torch.randn(3, 6, 6, requires_grad=True)
    loss = sampled_pair_loss(features, labels, PairSampling(50, radius=2), generator())
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_without_lesion_there_is_nothing_to_tell_apart() -> None:
    features = torch.zeros(4, 2, requires_grad=True)
    loss = pair_loss(features, torch.zeros(4))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert pair_loss(features, torch.full((4,), -1)).item() == 0
