"""Training learns, stops, goes on bit for bit, and says what is wrong when it cannot."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from focusmap.basics import InputError, MissingFileError
from focusmap.nets import Architecture, FocusNet, build_net
from focusmap.study import Augmentation, Recipe
from focusmap.training.batches import SampledImages
from focusmap.training.epoch import forward_store, training_batch
from focusmap.training.history import EpochRecord, tune_auroc
from focusmap.training.loop import FitOptions, fit, open_session
from support.models import unseal
from support.small_study import QUICK, plain_net, study, weights


def net(seed: int = 0) -> FocusNet:
    return build_net(Architecture("small-residual", 1, 1), seed=seed)


def same(a: FocusNet, b: FocusNet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def without_seconds(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0) for record in records]


MORE = Augmentation(shear_degrees=5, elastic=0.03, gamma=0.2, blur=0.5, mixup=0.4)
RESUMED = (
    QUICK,
    replace(QUICK, patience=3, freeze_epochs=1, optimizer="sgd"),
    replace(QUICK, schedule="plateau", sampling="over", accumulate=2, layer_decay=0.7, loss="focal"),
    replace(QUICK, schedule="one-cycle", sampling="weighted", clip_norm=0.0, loss="asymmetric", label_smoothing=0.1),
    replace(QUICK, schedule="step", sampling="under", augmentation=MORE),
)


@pytest.mark.parametrize("recipe", RESUMED)
def test_a_stopped_training_ends_with_the_same_weights_bit_for_bit(tmp_path: Path, recipe: Recipe) -> None:
    data, checkpoint = study(), tmp_path / "last.safetensors"
    whole, stopped, resumed = net(), net(), net(seed=9)
    records = list(fit(whole, data, recipe))
    list(islice(fit(stopped, data, recipe, FitOptions(checkpoint)), 2))
    torch.rand(7)
    again = list(fit(resumed, data, recipe, FitOptions(checkpoint, resume=True)))
    assert without_seconds(again) == without_seconds(records)
    assert same(whole, resumed)
    assert not same(stopped, resumed)


def test_a_finished_training_is_replayed(tmp_path: Path) -> None:
    data, options = study(), FitOptions(tmp_path / "last.safetensors")
    first, second = net(), net(seed=9)
    records = list(fit(first, data, QUICK, options))
    assert list(fit(second, data, QUICK, replace(options, resume=True))) == records
    assert same(first, second)


def test_it_learns_what_is_to_be_learned() -> None:
    recipe = replace(QUICK, epochs=14, learning_rate=3e-3, ema_decay=0.9)
    *_, last = fit(net(), study(n=96, n_train=64), recipe)
    assert last.tune_auroc is not None
    assert last.tune_auroc > 0.9
    assert last.tune_loss is not None


def test_the_net_ends_with_the_best_epochs_weights_where_there_is_patience() -> None:
    data = study()
    recipe = replace(QUICK, epochs=8, patience=2, learning_rate=0.03)
    trained = net()
    records = list(fit(trained, data, recipe))
    best = max(i for i, record in enumerate(records) if record.improved)
    assert len(records) in (best + 3, 8)
    logits = forward_store(trained, data.store, data.tune.image_ids).numpy()
    assert tune_auroc(data.task, logits, data.tune.truth) == pytest.approx(records[best].tune_auroc)
    assert not trained.training


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    recipe = replace(QUICK, epochs=1, freeze_epochs=1)
    trained, fresh = net(), net()
    list(fit(trained, study(), recipe))
    for (name, a), b in zip(trained.state_dict().items(), weights(fresh), strict=True):
        assert torch.equal(a, b) == name.startswith("backbone"), name
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_unknown_truths_change_nothing_but_the_count() -> None:
    def hide(truth: np.ndarray) -> np.ndarray:
        truth[3::7] = np.nan
        return truth

    *_, last = fit(net(), study(change=hide), replace(QUICK, epochs=2))
    assert np.isfinite([last.train_loss, last.positive_loss, last.negative_loss]).all()
    assert last.train_loss == pytest.approx(last.positive_loss + last.negative_loss)


def test_an_undefined_auroc_falls_back_to_the_loss_and_says_so() -> None:
    def one_class_on_tune(truth: np.ndarray) -> np.ndarray:
        truth[32:] = 1
        return truth

    records = list(fit(net(), study(change=one_class_on_tune), replace(QUICK, epochs=2, patience=1)))
    assert all(record.tune_auroc is None and "AUROC is undefined on tune" in record.note for record in records)
    assert records[0].improved


def test_without_tune_images_the_training_loss_is_monitored() -> None:
    *_, last = fit(net(), study(n=32), replace(QUICK, epochs=1))
    assert (last.tune_loss, last.tune_auroc) == (None, None)
    assert "training loss" in last.note


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_one_class_only_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="train: square has one known value only"):
        next(fit(net(), study(change=lambda truth: np.full_like(truth, value)), QUICK))


def test_a_loss_that_explodes_is_an_error_with_a_remedy() -> None:
    with pytest.raises(InputError, match=r"epoch \d: the training loss is .* learning_rate below"):
        list(fit(net(), study(), replace(QUICK, learning_rate=1e30, warmup_epochs=0)))


def test_a_checkpoint_cut_in_half_is_named_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    next(fit(net(), study(), QUICK, FitOptions(path)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"last.safetensors: was changed or damaged.*Delete it: the same command"):
        next(fit(net(), study(), QUICK, FitOptions(path, resume=True)))
    unseal(tmp_path)
    with pytest.raises(InputError, match=r"last.safetensors: is cut short.*Delete it: the same command"):
        next(fit(net(), study(), QUICK, FitOptions(path, resume=True)))


def test_a_checkpoint_of_other_settings_or_images_is_refused(tmp_path: Path) -> None:
    options = FitOptions(tmp_path / "last.safetensors")
    next(fit(net(), study(), QUICK, options))
    again = replace(options, resume=True)
    with pytest.raises(InputError, match=r"learning_rate was 0\.001, now 0\.5"):
        next(fit(net(), study(), replace(QUICK, learning_rate=0.5), again))
    with pytest.raises(InputError, match="augmentation was"):
        next(fit(net(), study(), replace(QUICK, augmentation=Augmentation(noise=0.5)), again))
    with pytest.raises(InputError, match="images was"):
        next(fit(net(), study(n=50), QUICK, again))


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nothing to resume"):
        next(fit(net(), study(), QUICK, FitOptions(tmp_path / "none.safetensors", resume=True)))


def test_the_callers_random_state_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    list(fit(net(), study(), replace(QUICK, epochs=1)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="'tpu' is not one of auto, cuda, mps, cpu"):
        next(fit(net(), study(), QUICK, FitOptions(devices="tpu")))


def test_a_plateau_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped on the plateau, a training falls to the lower rate in the same epoch."""
    from focusmap.training import optimisation

    monkeypatch.setattr(optimisation, "PLATEAU_EPOCHS", 2)
    recipe = replace(QUICK, schedule="plateau", epochs=6, warmup_epochs=0, learning_rate=1e-7)
    data, checkpoint = study(), tmp_path / "last.safetensors"
    whole = list(fit(net(), data, recipe))
    list(islice(fit(net(), data, recipe, FitOptions(checkpoint)), 3))
    again = list(fit(net(), data, recipe, FitOptions(checkpoint, resume=True)))
    assert without_seconds(again) == without_seconds(whole)
    assert whole[-1].learning_rate < whole[0].learning_rate


def test_two_batches_accumulated_are_one_of_twice_the_size() -> None:
    recipe = replace(QUICK, precision="fp32", epochs=2, optimizer="sgd")
    large, small, other = plain_net(), plain_net(), plain_net()
    list(fit(large, study(), replace(recipe, batch_size=16)))
    list(fit(small, study(), replace(recipe, batch_size=8, accumulate=2)))
    list(fit(other, study(), replace(recipe, batch_size=8)))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(large), weights(small), strict=True))
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights(large), weights(other), strict=True))


def test_the_gradient_is_cut_at_the_length_asked_for() -> None:
    """Plain steps of SGD are the gradient times the rate; the first momentum step is 1.9 times that."""
    recipe = replace(QUICK, precision="fp32", epochs=1, batch_size=32, optimizer="sgd", schedule="constant")
    recipe = replace(recipe, warmup_epochs=0, weight_decay=0.0, learning_rate=1.0)

    def moved(clip_norm: float) -> float:
        trained, fresh = plain_net(), plain_net()
        list(fit(trained, study(), replace(recipe, clip_norm=clip_norm, ema_decay=0.0)))
        pairs = zip(trained.parameters(), fresh.parameters(), strict=True)
        return float(torch.cat([(a - b).detach().flatten() for a, b in pairs]).norm())

    assert moved(0.01) == pytest.approx(0.019, rel=1e-3)
    assert moved(0.0) > 0.05


def test_a_blended_batch_equals_one_by_one_and_is_what_its_shares_say() -> None:
    recipe = replace(QUICK, augmentation=Augmentation(mixup=1.0))
    mixed, plain = (open_session(net(), study(), r, FitOptions(devices="cpu")) for r in (recipe, QUICK))
    plain = replace(plain, recipe=replace(recipe, augmentation=Augmentation()))
    drawn = SampledImages(np.array([3, 8, 20, 3]), np.array([0, 0, 0, 1]))
    together = training_batch(mixed, drawn, 2)
    (truth, own), (other_truth, rest) = together.truths
    assert torch.allclose(own + rest, torch.ones(4))
    everything = training_batch(plain, SampledImages(np.arange(32), np.zeros(32, dtype=int)), 2).images
    for i in range(4):
        alone = training_batch(mixed, drawn.take(np.array([i])), 2)
        assert torch.equal(alone.images[0], together.images[i])
    for i in range(3):
        other = (together.images[i] - own[i] * everything[drawn.positions[i]]) / rest[i]
        partner = int((everything - other).abs().amax(dim=(1, 2, 3)).argmin())
        assert torch.allclose(other, everything[partner], atol=1e-3)
        assert float(other_truth[i]) == mixed.data.train.truth[partner, 0]
        assert float(truth[i]) == mixed.data.train.truth[drawn.positions[i], 0]
    assert not torch.allclose(together.images[0], together.images[3])


def test_frozen_stages_keep_weights_and_statistics_and_the_others_learn() -> None:
    trained, fresh = net(), net()
    list(fit(trained, study(), replace(QUICK, epochs=1, frozen_stages=2)))
    from focusmap.nets import stages_of

    kept = {name for name, stage in stages_of(fresh.backbone).items() if stage < 2}
    own, first = dict(trained.backbone.named_parameters()), dict(fresh.backbone.named_parameters())
    assert kept
    assert {name for name in own if torch.equal(own[name], first[name])} == kept
    modules = {name.rpartition(".")[0] for name in kept}
    moved = {name for name, value in trained.backbone.named_buffers() if "running_mean" in name and bool(value.any())}
    assert not any(name.rpartition(".")[0] in modules for name in moved)
    assert all(parameter.requires_grad for parameter in trained.parameters())
