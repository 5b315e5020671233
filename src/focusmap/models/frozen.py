"""Features that a frozen net takes of images; those of a store are measured once, and kept beside them.

Folds of a study share them, and so do all that is fitted to them; a mirror image has features of its own.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from focusmap.files import atomic
from focusmap.progress import Progress
from focusmap.study import Cohort, Samples

if TYPE_CHECKING:
    from focusmap.images import AnyPreparation
    from focusmap.models.training import Training
    from focusmap.nets import LevelsNet

# Rows of so many pixels at once: on a processor small batches, whose maps stay in its cache, are several times faster.
PIXELS_AT_ONCE = 2 * 320**2
# Counted up when other numbers are taken of an image: what a store keeps of another version is left alone.
VERSION = 2


def kept_features(
    net: "LevelsNet", training: "Training", rows: Cohort, progress: Progress, *, mirrored: bool = False
) -> np.ndarray:
    """Return the features ``(N, D) float32`` of rows, or of their mirror images.

    Those of all images are measured once, and kept in the store.
    """
    store = training.store
    assert store is not None
    file = store.folder / f"features-{key_of(net, mirrored=mirrored)}.npy"
    if not file.is_file():
        found = np.zeros((len(store), net.head.in_features), np.float32)
        samples = Samples.from_store(training.cohort, store)
        features = measured(net, samples, store.preparation, progress, mirrored=mirrored)
        found[store.rows(training.cohort.image_ids)] = features
        with atomic(file) as temporary:
            np.save(temporary, found)
    return np.asarray(np.load(file, mmap_mode="r")[store.rows(rows.image_ids)])


def key_of(net: "LevelsNet", *, mirrored: bool) -> str:
    """Return a name of the backbone with its weights, and of how an image's features are taken."""
    found = hashlib.sha256(f"{VERSION} {net.backbone.sizes} {mirrored}".encode())
    for name, tensor in net.backbone.state_dict().items():
        found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def measured(
    net: "LevelsNet", samples: Samples, preparation: "AnyPreparation", progress: Progress, *, mirrored: bool = False
) -> np.ndarray:
    """Return the features ``(N, D) float32`` of the samples that can be read, or of their mirror images."""
    import torch

    from focusmap.nets import CHANNELS_LAST

    found, device = [], net.head.weight.device
    n_images = max(1, PIXELS_AT_ONCE // int(np.prod(preparation.input_shape[1:])))
    net.eval()
    with torch.inference_mode():
        for batch in samples.batches([preparation], n_images):
            images = batch.images(preparation).pixels
            x = torch.from_numpy(images).to(device, memory_format=CHANNELS_LAST[images.ndim])
            found.append(net.measure(x.flip(3) if mirrored else x).cpu().numpy())
            progress("looking at images with frozen features", samples.n_done, len(samples))
    return np.asarray(np.concatenate(found))
