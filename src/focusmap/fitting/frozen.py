"""Features of images by a frozen net; those of a store are measured once and saved in its folder.

All folds and all fits of a study share them; a mirror image has features of its own.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from focusmap import nets
from focusmap.basics import Progress, atomic
from focusmap.fitting.training import Training
from focusmap.images import AnyPreparation, FloatArray
from focusmap.models.formats import EXACT
from focusmap.study import Batch, Cohort, Images, Samples

if TYPE_CHECKING:
    from torch import Tensor


# Rows of so many pixels at once: on a processor small batches, whose maps stay in its cache, are several times faster.
PIXELS_AT_ONCE = 2 * 320**2
# Fewer images, most with their mirror images, are measured before OpenVINO has made graphs of the net in ten seconds.
WORTH_COMPILING = 400
# Counted up when other numbers are taken of an image: what a store keeps of another version is left alone.
VERSION = 2


def stored_features(
    net: "nets.LevelsNet", training: Training, rows: Cohort, progress: Progress, *, mirrored: bool = False
) -> np.ndarray:
    """Return the features ``(N, D) float32`` of rows, or of their mirror images; each image's are kept in the store."""
    store = training.store
    assert store is not None
    file = store.folder / f"features-{features_key(net, mirrored=mirrored)}.npy"
    places = store.rows(rows.image_ids)
    stored = kept_features(file)
    if stored is None:
        stored = np.full((len(store), net.head.in_features), np.nan)
    features = np.asarray(stored[places], dtype=np.float32)
    lacking = np.isnan(features[:, 0])
    if lacking.any():
        samples = Samples.from_store(rows.take(np.flatnonzero(lacking)), store)
        changes = [mirrored_images if mirrored else unchanged]
        # Sooner or later this net measures all of the store.
        (features[lacking],) = measure_each_change(net, samples, store.preparation, progress, changes, len(store))
        every = np.array(stored, dtype=np.float32)
        every[places] = features
        with atomic(file) as temporary:
            np.save(temporary, every)
    return features


def kept_features(file: Path) -> np.ndarray | None:
    """Return the features in a file; None where there is none or it is damaged, so that they are measured anew."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError):
        return None


def features_key(net: "nets.LevelsNet", *, mirrored: bool) -> str:
    """Return a name of the backbone with its weights, and of how an image's features are taken."""
    digest = hashlib.sha256(f"{VERSION} {net.backbone.sizes} {mirrored}".encode())
    for name, tensor in net.backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


Change: TypeAlias = Callable[[Batch, Images], FloatArray]
"""From a batch and its images to what the net is shown of them: ``(P, C, *spatial) float32``."""


def unchanged(batch: Batch, images: Images) -> FloatArray:  # noqa: ARG001
    """Return images as nets are shown them."""
    return images.pixels


def mirrored_images(batch: Batch, images: Images) -> FloatArray:  # noqa: ARG001
    """Return the mirror images, left for right."""
    return np.ascontiguousarray(np.flip(images.pixels, 3))


def measure_each_change(
    net: "nets.LevelsNet",
    samples: Samples,
    preparation: AnyPreparation,
    progress: Progress,
    changes: Sequence[Change],
    n_images: int,
) -> list[np.ndarray]:
    """Return by each change the features ``(N, D) float32`` of the samples that can be read, which are read once.

    Parameters
    ----------
    n_images
        That this net will measure in all: of many it is compiled first.
    """
    import torch

    features: list[list[np.ndarray]] = [[] for _ in changes]
    device = net.head.weight.device
    n_at_once = max(1, PIXELS_AT_ONCE // int(np.prod(preparation.input_shape[1:])))
    measure = net.eval().measure
    if device.type == "cpu" and len(preparation.input_shape) == 3 and n_images >= WORTH_COMPILING:
        measure = _compiled_once(net) or measure
    with torch.inference_mode():
        for batch in samples.batches([preparation], n_at_once):
            for own, change in zip(features, changes, strict=True):
                images = change(batch, batch.images(preparation))
                x = torch.from_numpy(images).to(device, memory_format=nets.CHANNELS_LAST[images.ndim])
                own.append(measure(x).cpu().numpy())
            progress("looking at images with frozen features", samples.n_done, len(samples))
    return [np.asarray(np.concatenate(own)) for own in features]


_COMPILED: dict[str, "_Compiled"] = {}


def _compiled_once(net: "nets.LevelsNet") -> "_Compiled | None":
    """Return the graphs of a net, which all folds and parts of a study share; None without OpenVINO."""
    if find_spec("openvino") is None:
        return None
    key = features_key(net, mirrored=False)
    if key not in _COMPILED:
        _COMPILED.clear()
        _COMPILED[key] = _Compiled(net)
    return _COMPILED[key]


class _Compiled:
    """What `LevelsNet.measure` does with images, by OpenVINO: two to four times as fast, and equal to about 1e-5."""

    def __init__(self, net: "nets.LevelsNet") -> None:
        self._levels = cast("nets.Levels", net.backbone)
        self._graphs: dict[tuple[int, ...], Callable[[np.ndarray], np.ndarray]] = {}

    def __call__(self, x: "Tensor") -> "Tensor":
        import torch

        parts = [torch.from_numpy(self._graph(part)(part.numpy())) for part in self._levels.in_sizes(x)]
        return torch.cat(parts, dim=2).flatten(1)

    def _graph(self, x: "Tensor") -> Callable[[np.ndarray], np.ndarray]:
        """Return what measures any number of images of the size of `x`."""
        shape = tuple(x.shape[1:])
        if shape not in self._graphs:
            self._graphs[shape] = _compiled(self._levels, x)
        return self._graphs[shape]


def _compiled(levels: "nets.Levels", x: "Tensor") -> Callable[[np.ndarray], np.ndarray]:
    import openvino
    import torch

    example = x[:1].contiguous().expand(2, *x.shape[1:])
    batch = {0: torch.export.Dim("n_images")}
    program = torch.export.export(nets.OneSize(levels).eval(), (example,), dynamic_shapes=(batch,))
    model = openvino.convert_model(program)
    settings = {**EXACT, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    graph = openvino.compile_model(model, "CPU", settings)
    return lambda images: np.array(graph(np.ascontiguousarray(images))[0])
