"""Every image is in one batch of an epoch, no batch is of one, and images come standardised."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from focusmap.study import split_evenly
from focusmap.training.batches import epoch_order, read_batch
from support.small_study import images, store_of


@given(n=st.integers(1, 300), batch_size=st.integers(2, 40))
def test_batches_are_even_and_complete(n: int, batch_size: int) -> None:
    batches = list(split_evenly(epoch_order(n, 0, 0), batch_size))
    sizes = [len(batch) for batch in batches]
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    # Odd images in batches of two cannot avoid a single one.
    assert min(sizes) > 1 or n == 1 or batch_size == 2


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert np.array_equal(epoch_order(50, 3, 7), epoch_order(50, 3, 7))
    assert not np.array_equal(epoch_order(50, 3, 7), epoch_order(50, 3, 8))
    assert not np.array_equal(epoch_order(50, 3, 7), epoch_order(50, 4, 7))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_standardised_one_by_one(channels: int) -> None:
    store = store_of(np.repeat(images(6)[0], channels, axis=1))
    batch = read_batch(store, np.array([4, 1, 1]))
    assert batch.shape == (3, channels, 16, 16)
    assert batch.dtype == torch.float32
    assert torch.allclose(batch.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(batch.std(dim=(1, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    assert torch.equal(batch[1], batch[2])
    assert batch.is_contiguous(memory_format=torch.channels_last)
