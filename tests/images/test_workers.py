"""Proves that worker processes keep the order, name failures, and that their death is told."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from focusmap.basics import InputError
from focusmap.images.prepare import Preparation, content_statistics, prepare_file
from focusmap.images.workers import CHUNK, PreparedImage, prepare_by_processes, prepare_in_order, prepare_one
from support.images import encode, smooth

PREPARATION = Preparation(24)


@pytest.fixture
def files(tmp_path):
    for k in range(5 * CHUNK):
        (tmp_path / f"{k:02d}.png").write_bytes(encode(smooth(30, 30 + k, seed=k), "PNG"))
    (tmp_path / "07.png").write_bytes(b"")
    return sorted(tmp_path.iterdir())


def test_an_outcome_is_a_prepared_image_or_a_reason(files):
    image = prepare_one(files[0], PREPARATION)
    pixels, placement = prepare_file(files[0], PREPARATION)
    assert isinstance(image, PreparedImage)
    assert np.array_equal(image.pixels, pixels)
    assert (image.mean, image.std) == content_statistics(pixels, placement)
    assert prepare_one(files[7], PREPARATION) == f"{files[7]}: is empty (0 bytes)."


def test_processes_give_what_one_gives_in_the_same_order(files):
    alone = list(prepare_in_order(files, PREPARATION, workers=1))
    together = list(prepare_by_processes(files, PREPARATION, n_workers=2))
    assert len(alone) == len(together) == len(files)
    for ours, theirs in zip(alone, together, strict=True):
        if isinstance(ours, PreparedImage):
            assert np.array_equal(ours.pixels, theirs.pixels)
        else:
            assert ours == theirs


def test_a_worker_that_is_killed_is_told_with_a_remedy(files):
    outcomes = prepare_by_processes(files * 20, PREPARATION, n_workers=1)
    next(outcomes)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(InputError, match="Try fewer workers"):
        list(outcomes)


def test_an_abandoned_pool_ends_its_processes(files):
    outcomes = prepare_by_processes(files * 20, PREPARATION, n_workers=1)
    next(outcomes)
    outcomes.close()
    assert not multiprocessing.active_children()


def test_a_worker_loads_no_more_than_it_needs():
    code = "import sys, focusmap.images.workers; print(sorted({'pandas', 'torch', 'scipy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
