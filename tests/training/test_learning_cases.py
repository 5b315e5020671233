"""What is planted in one image of each case is learnt, whatever the number of images; resuming changes nothing."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from focusmap.nets import CaseArchitecture, build_case_net
from focusmap.statistics import auroc
from focusmap.study import Target, Task
from focusmap.training.batches import CaseInputs, Labelled, TrainingData
from focusmap.training.epoch import forward_store
from focusmap.training.loop import FitOptions, fit
from support.small_study import QUICK, SIDE, images, store_of

LEARN = replace(QUICK, epochs=8, batch_size=12, learning_rate=3e-3, ema_decay=0.9, class_weights=False)
N_CASES = 60


def study(seed: int = 0) -> TrainingData:
    """Return cases of 1 to 4 images; of every second one per image carries a square."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 5, N_CASES)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pixels, has_square = images(2 * int(starts[-1]))
    plain, marked = (pixels[has_square == value] for value in (0, 1))
    stack, positive = plain[: starts[-1]].copy(), np.arange(N_CASES) % 2
    for case in np.flatnonzero(positive):
        stack[starts[case] + generator.integers(sizes[case])] = marked[case]
    store = store_of(stack)
    ids = tuple(f"c{i}" for i in range(N_CASES))
    n = int(starts[-1])
    inputs = CaseInputs(ids, store, np.arange(n), np.zeros(n, int), starts, np.empty((N_CASES, 0), np.float32))
    truth = positive[:, None].astype(float)
    task = Task((Target("square"),))
    return TrainingData(inputs, task, Labelled(ids[:40], truth[:40]), Labelled(ids[40:], truth[40:]))


def net(pooling: str = "attention"):
    return build_case_net(CaseArchitecture("small-residual", 1, 1, pooling=pooling), seed=0)


def test_cases_are_learnt_and_attention_finds_the_image_that_decides():
    data, trained = study(), net()
    records = list(fit(trained, data, LEARN))
    assert records[-1].train_loss < records[0].train_loss
    logits = forward_store(trained, data.store, data.tune.image_ids)[:, 0].numpy()
    assert auroc(data.tune.truth[:, 0], logits) > 0.9


def test_a_training_of_cases_that_was_stopped_ends_the_same(tmp_path):
    data, whole, parted = study(), net("max"), net("max")
    short = replace(LEARN, epochs=2)
    list(fit(whole, data, short, FitOptions(tmp_path / "a")))
    stopped = fit(parted, data, short, FitOptions(tmp_path / "b"))
    next(stopped)
    stopped.close()
    again = net("max")
    list(fit(again, data, short, FitOptions(tmp_path / "b", resume=True)))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_images_go_through_a_net_so_many_at_once_and_none_twice():
    inputs = study().store
    rows = np.arange(N_CASES)
    chunks = list(inputs.batches(rows, 7))
    assert np.concatenate(chunks).tolist() == rows.tolist()
    assert max(inputs.sizes(chunk).sum() for chunk in chunks) <= 7
    assert [chunk.tolist() for chunk in inputs.batches(rows[:3], 1)] == [[0], [1], [2]]


def test_cases_can_be_sent_to_another_process():
    inputs = study().store
    again = pickle.loads(pickle.dumps(inputs))
    assert torch.equal(again.read(np.array([3, 1])).images, inputs.read(np.array([3, 1])).images)


@pytest.mark.parametrize("rows", [[0, 1, 2], [5, 3]])
def test_a_batch_holds_the_images_of_its_cases(rows):
    inputs = study().store
    batch = inputs.read(np.array(rows))
    assert np.bincount(batch.cases).tolist() == inputs.sizes(np.array(rows)).tolist()
    first = inputs.images[inputs.starts[rows[-1]]]
    expected = (inputs.store.pixels[first] - inputs.store.mean[first]) / inputs.store.std[first]
    last = int((batch.cases < len(rows) - 1).sum())
    np.testing.assert_allclose(batch.images[last], expected, rtol=1e-4)
    assert batch.images.shape[1:] == (1, SIDE, SIDE)
