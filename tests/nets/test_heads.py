"""Losses agree with sums done by hand; unknown truths count for nothing; weights balance the two sides."""

import numpy as np
import pytest
import torch

from focusmap.basics import InputError
from focusmap.nets.heads import LossOptions, continuous_scales, task_loss, undo_class_weights, undo_sampling
from focusmap.study import Target, Task

BINARY = Task((Target("a"),))
NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_binary_loss_by_hand() -> None:
    loss = task_loss(BINARY, column(1, 0, 0, 0))
    z = torch.tensor([[2.0], [-1.0]])
    parts = loss(z, torch.tensor([[1.0], [0.0]]))
    positive = 0.75 * np.log1p(np.exp(-2.0)) / 2
    negative = 0.25 * np.log1p(np.exp(-1.0)) / 2
    assert float(parts.positive) == pytest.approx(positive)
    assert float(parts.negative) == pytest.approx(negative)
    assert float(parts.total) == pytest.approx(positive + negative)


def test_positives_and_negatives_balance_before_anything_is_learned() -> None:
    truth = column(*[1] * 3, *[0] * 17, NAN)
    parts = task_loss(BINARY, truth)(torch.zeros(21, 1), torch.from_numpy(truth).float())
    assert float(parts.positive) == pytest.approx(float(parts.negative))
    plain = task_loss(BINARY, truth, LossOptions(class_weights=False))(torch.zeros(21, 1), torch.from_numpy(truth))
    assert float(plain.positive / plain.negative) == pytest.approx(3 / 17)
    assert float(plain.total) == pytest.approx(np.log(2))


def test_a_soft_label_counts_on_both_sides() -> None:
    loss = task_loss(BINARY, column(1, 0), LossOptions(class_weights=False))
    soft = loss(torch.tensor([[0.3]]), torch.tensor([[0.25]]))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor([0.3]), torch.tensor([0.25]))
    assert float(soft.total) == pytest.approx(float(expected))


def test_smoothing_draws_labels_towards_one_half() -> None:
    loss = task_loss(BINARY, column(1, 0), LossOptions(class_weights=False, label_smoothing=0.2))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor([1.5]), torch.tensor([0.9]))
    assert float(loss(torch.tensor([[1.5]]), torch.tensor([[1.0]])).total) == pytest.approx(float(expected))


def test_multiclass_loss_by_hand() -> None:
    task = Task((Target("b", "multiclass", ("x", "y", "z")),))
    loss = task_loss(task, column(0, 0, 0, 1))
    z = torch.tensor([[1.0, 0.0, -1.0]])
    log_p = torch.log_softmax(z, 1)[0]
    # Two classes are present, 3 and 1 of 4: weights 4 / (2 * 3) and 4 / (2 * 1); their mean over the images is 1.
    assert float(loss(z, torch.tensor([[0.0]])).total) == pytest.approx(-float(log_p[0]) * 4 / 6, rel=1e-5)
    assert float(loss(z, torch.tensor([[1.0]])).total) == pytest.approx(-float(log_p[1]) * 2, rel=1e-5)


def test_continuous_loss_is_that_of_the_standardised_value() -> None:
    task = Task((Target("c", "continuous"),))
    truth = column(10, 14, NAN)
    assert continuous_scales(task, truth) == {"c": [12.0, 2.0]}
    loss = task_loss(task, truth)
    assert float(loss(torch.tensor([[0.5]]), torch.tensor([[14.0]])).total) == pytest.approx(0.25)


def test_unknown_truths_give_neither_loss_nor_gradient() -> None:
    task = Task((Target("a"), Target("b", "multiclass", ("x", "y")), Target("c", "continuous")))
    truth = np.array([[1, 0, 3.0], [0, 1, 5.0], [NAN, NAN, NAN], [1, NAN, 4.0]])
    logits = torch.randn(4, 4, requires_grad=True)
    loss = task_loss(task, truth)
    total = loss(logits, torch.from_numpy(truth).float()).total
    total.backward()
    assert logits.grad is not None
    known = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(logits.grad != 0, known)
    without = loss(logits[[0, 1, 3]], torch.from_numpy(truth[[0, 1, 3]]).float())
    assert without.total.item() == pytest.approx(total.item())


def test_a_batch_of_unknowns_has_loss_zero_and_a_gradient() -> None:
    logits = torch.randn(2, 1, requires_grad=True)
    total = task_loss(BINARY, column(1, 0))(logits, torch.full((2, 1), NAN)).total
    total.backward()
    assert total.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 1))


@pytest.mark.parametrize("truth", [column(0, 0), column(NAN, NAN)])
def test_a_label_with_nothing_to_balance_is_not_weighted(truth: np.ndarray) -> None:
    assert task_loss(BINARY, truth).weights[0].classes.tolist() == [0.5, 0.5]


def test_logits_of_a_weighted_training_become_those_of_the_shares() -> None:
    """A net of biases alone ends at the prevalence once the weights are undone."""
    task = Task((Target("a"), Target("b", "multiclass", ("x", "y", "z")), Target("c", "continuous")))
    truth = np.array([[1, 0, 1.0], [0, 0, 2.0], [0, 0, 3.0], [0, 1, 4.0]])
    head = torch.nn.Linear(1, 5)
    loss = task_loss(task, truth)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = loss(head(torch.zeros(4, 1)), torch.from_numpy(truth).float()).total
        total.backward()
        return total

    optimizer.step(closure)
    before = head.bias.detach().clone()
    undo_class_weights(head, task, truth)
    logits = head.bias.detach()[None].numpy()
    shares = task.probabilities(logits)[0]
    assert shares[:4] == pytest.approx([0.25, 0.75, 0.25, 0.0], abs=1e-2)
    assert head.bias[4] == before[4]


def slow_asymmetric(z: float, y: float, gammas: tuple[float, float], margin: float) -> float:
    """Ridnik et al. 2021, eq. 4 to 7: L = -y L+ - (1 - y) L-, with p_m = max(p - m, 0)."""
    p = 1 / (1 + np.exp(-z))
    p_m = max(p - margin, 0.0)
    positive = (1 - p) ** gammas[0] * np.log(p)
    negative = p_m ** gammas[1] * np.log(1 - p_m)
    return float(-y * positive - (1 - y) * negative)


@pytest.mark.parametrize(
    ("loss", "gammas", "margin"),
    [("cross-entropy", (0.0, 0.0), 0.0), ("focal", (2.0, 2.0), 0.0), ("asymmetric", (0.0, 4.0), 0.05)],
)
@pytest.mark.parametrize("y", [0.0, 0.3, 1.0])
def test_binary_losses_are_those_of_the_papers(loss, gammas, margin, y) -> None:
    function = task_loss(BINARY, column(1, 0), LossOptions(class_weights=False, loss=loss))
    for z in (-6.0, -2.0, 0.0, 0.7, 3.0):
        found = float(
            function(torch.tensor([[z]], dtype=torch.float64), torch.tensor([[y]], dtype=torch.float64)).total
        )
        assert found == pytest.approx(slow_asymmetric(z, y, gammas, margin), rel=1e-6, abs=1e-12)


def test_focal_loss_of_classes_by_hand() -> None:
    task = Task((Target("b", "multiclass", ("x", "y", "z")),))
    z, truth = torch.randn(5, 3), column(0, 1, 2, 1, 0)
    found = task_loss(task, truth, LossOptions(class_weights=False, loss="focal"))(z, torch.from_numpy(truth))
    p = z.softmax(1).numpy()[np.arange(5), truth[:, 0].astype(int)]
    assert float(found.total) == pytest.approx(float(np.mean(-((1 - p) ** 2) * np.log(p))), rel=1e-5)


@pytest.mark.parametrize("loss", ["focal", "asymmetric"])
def test_gradients_stay_numbers_where_the_answer_is_certain(loss) -> None:
    z = torch.tensor([[80.0], [-80.0], [80.0], [-80.0]], requires_grad=True)
    task_loss(BINARY, column(1, 0), LossOptions(loss=loss))(
        z, torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    ).total.backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())


def test_the_absolute_loss_is_that_of_continuous_targets() -> None:
    task, truth = Task((Target("age", "continuous"),)), np.array([[10.0], [20.0], [np.nan]])
    logits = torch.tensor([[1.0], [4.0], [9.0]])
    # Standardised by mean 15 and deviation 5, the truth is -1 and 1.
    assert float(task_loss(task, truth, LossOptions(loss="absolute"))(logits, torch.from_numpy(truth)).total) == 2.5
    assert float(task_loss(task, truth)(logits, torch.from_numpy(truth)).total) == 6.5
    with pytest.raises(InputError, match="'absolute' is for continuous targets, and there is none"):
        task_loss(Task((Target("a"),)), column(0, 1), LossOptions(loss="absolute"))


def test_the_asymmetric_loss_is_refused_for_several_classes() -> None:
    task = Task((Target("b", "multiclass", ("x", "y")),))
    with pytest.raises(InputError, match="is for binary targets; b is multiclass"):
        task_loss(task, column(0, 1), LossOptions(loss="asymmetric"))


def test_shares_weigh_images() -> None:
    loss, z, truth = task_loss(BINARY, column(1, 0)), torch.randn(3, 1), torch.tensor([[1.0], [0.0], [NAN]])
    shares = torch.tensor([0.25, 1.0, 0.5])
    alone = [float(loss(z[i : i + 1], truth[i : i + 1]).total) for i in range(2)]
    assert float(loss(z, truth, shares).total) == pytest.approx((0.25 * alone[0] + alone[1]) / 2, rel=1e-5)


def test_logits_of_an_uneven_sampling_become_those_of_the_shares() -> None:
    """Where rare images are drawn so often that all classes are even, an even answer means the prevalence."""
    task = Task((Target("a"), Target("b", "multiclass", ("x", "y", "z")), Target("c", "continuous")))
    truth = np.array([[1, 0, 1.0], [0, 1, 2.0], [0, 1, 3.0], [0, 1, 4.0]])
    head = torch.nn.Linear(1, 5)
    torch.nn.init.zeros_(head.bias)
    undo_sampling(head, task, truth, np.array([3.0, 1.0, 1.0, 1.0]))
    shares = task.probabilities(head.bias.detach()[None].numpy())[0]
    assert shares[0] == pytest.approx(0.25)
    assert shares[2] / shares[1] == pytest.approx(3)
    assert head.bias[4] == 0


GRADES = Task((Target("grade", "ordinal", ("0", "1", "2")),))


def test_ordinal_loss_by_hand() -> None:
    loss = task_loss(GRADES, column(0, 1, 2), LossOptions(class_weights=False))
    p = np.array([0.5, 0.3, 0.2])
    parts = loss(torch.from_numpy(np.log(p))[None], torch.tensor([[1.0]]))
    # Of the two cuts, the first should be passed and the second not.
    assert float(parts.total) == pytest.approx(-(np.log(0.3 + 0.2) + np.log(0.5 + 0.3)) / 2)


def test_an_ordinal_answer_costs_more_the_further_it_is_away() -> None:
    loss = task_loss(GRADES, column(0, 1, 2), LossOptions(class_weights=False))
    near, far = (loss(4 * torch.eye(3)[label][None], torch.tensor([[0.0]])).total for label in (1, 2))
    plain = task_loss(Task((Target("grade", "multiclass", ("0", "1", "2")),)), column(0, 1, 2))
    assert float(far) > 1.5 * float(near)
    assert float(plain(torch.eye(3)[1][None], torch.tensor([[0.0]])).total) == pytest.approx(
        float(plain(torch.eye(3)[2][None], torch.tensor([[0.0]])).total)
    )


def test_the_ordinal_loss_is_least_at_the_true_shares() -> None:
    shares = torch.tensor([0.5, 0.2, 0.3])
    truth = torch.repeat_interleave(torch.arange(3.0), torch.tensor([5, 2, 3]))[:, None]
    loss = task_loss(GRADES, truth.numpy(), LossOptions(class_weights=False))
    logits = shares.log().clone().requires_grad_()
    loss(logits.expand(10, 3), truth).total.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3), atol=1e-6, rtol=0)


MIXED = Task((Target("a"), Target("v", "continuous")))


def test_weights_of_targets_multiply_their_losses() -> None:
    truth = np.array([[1.0, 3.0], [0.0, 5.0]])
    logits, given = torch.tensor([[0.3, 0.2], [-1.0, 2.0]]), torch.from_numpy(truth).float()
    alone = [
        task_loss(Task((target,)), truth[:, [i]])(logits[:, [i]], given[:, [i]]).total
        for i, target in enumerate(MIXED.targets)
    ]
    weighted = task_loss(MIXED, truth, LossOptions(target_weights="v=3"))(logits, given).total
    assert float(weighted) == pytest.approx(float(alone[0] + 3 * alone[1]) / 2)


def test_weights_by_uncertainty_do_not_know_a_targets_unit() -> None:
    truth = np.array([[1.0, 3.0], [0.0, 5.0], [1.0, NAN]])
    given = torch.from_numpy(truth).float()
    gradients = []
    for unit in (1.0, 7.0):
        logits = torch.tensor([[0.3, 0.2], [-1.0, 2.0], [0.1, 0.0]], requires_grad=True)
        scaled = torch.stack([logits[:, 0], unit * (logits[:, 1] - (given[:, 1].nan_to_num() - 4))], dim=1)
        task_loss(MIXED, truth, LossOptions(target_weights="uncertainty"))(
            torch.stack([scaled[:, 0], scaled[:, 1] + given[:, 1].nan_to_num() - 4], dim=1), given
        ).total.backward()
        gradients.append(logits.grad)
    # The second loss is 49 times the first one's, and pulls just as hard.
    torch.testing.assert_close(gradients[0], gradients[1])


def test_weights_of_targets_that_mean_nothing_are_refused() -> None:
    for text, message in (("w=2", "is not one of a, v"), ("v=0", "no positive number"), ("much", "NAME=WEIGHT")):
        with pytest.raises(InputError, match=message):
            task_loss(MIXED, np.ones((2, 2)), LossOptions(target_weights=text))(torch.zeros(2, 2), torch.ones(2, 2))
