"""Class activation maps of 14 labels for one picture: their cost in forward passes, beside three peers.

DenseNet121, 224 x 224, fp32. The forward pass and our maps take turns, so that a busy machine slows both; a peer
runs one label after another, as its interface asks, is timed on some labels and scaled to all. The largest
difference between its map and ours is printed, as a share of the greatest value. Peers that are not installed are
named (`pip install captum grad-cam monai`).

    python benchmarks/class_activation.py [--repeats 20]
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from focusmap.heatmaps.class_activation import class_activation_maps
from focusmap.nets.build import Architecture, FocusNet, build_net

N_LABELS, SIZE, MEASURED_LABELS = 14, 224, 2
Peer = Callable[[FocusNet, Tensor, int], np.ndarray]


def captum(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import LayerGradCam

    found = LayerGradCam(net, net.backbone).attribute(picture, target=label, relu_attributions=True)
    return found[0, 0].detach().numpy()


def pytorch_grad_cam(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # Its map comes min-max scaled and up-sampled, in that order: its own scale is lost.
    with GradCAM(model=net, target_layers=[net.backbone]) as cam:
        return cam(input_tensor=picture, targets=[ClassifierOutputTarget(label)])[0]


def monai(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from monai.visualize import GradCAM

    # Without the default normaliser, which turns maps upside down, and without its up-sampling.
    cam = GradCAM(net, target_layers="backbone", upsampler=lambda _: lambda x: x, postprocessing=lambda x: x)
    return cam(picture, class_idx=label)[0, 0].detach().numpy()


PEERS: dict[str, Peer] = {"Captum": captum, "pytorch-grad-cam": pytorch_grad_cam, "MONAI": monai}


def net_with_evidence(picture: Tensor) -> FocusNet:
    """An untrained net whose maps are positive in some places: its head is blind to the mean feature."""
    net = build_net(Architecture("densenet121", 1, N_LABELS)).eval()
    with torch.no_grad():
        mean = net.features(picture).mean(dim=(0, 2, 3))
        net.head.weight -= torch.outer(net.head.weight @ mean, mean) / mean.square().sum()
    return net


def seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def forward(net: FocusNet, picture: Tensor) -> Tensor:
    with torch.inference_mode():
        return net(picture)


def difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """The largest difference as a share of the greatest value, where both lie on the same grid and scale."""
    if theirs.shape != ours.shape:
        return "scaled and up-sampled before it is handed over, so not compared"
    return f"differs by at most {np.abs(theirs - ours).max() / ours.max():.1e}"


def compare(name: str, net: FocusNet, picture: Tensor, one_pass: float) -> None:
    ours = class_activation_maps(net, picture, "gradcam")[1][0].numpy()
    try:
        theirs = PEERS[name](net, picture, 0)
    except ImportError:
        print(f"{name:<18} not installed")
        return
    took = median(
        seconds(lambda label=label: PEERS[name](net, picture, label)) for label in range(1, MEASURED_LABELS + 1)
    )
    print(f"{name:<18} {took * N_LABELS / one_pass:6.2f} forward passes; {difference(theirs, ours[0])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    picture = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    net = net_with_evidence(picture)
    for _ in range(2):
        forward(net, picture)
        class_activation_maps(net, picture)
    pairs = [
        (seconds(lambda: forward(net, picture)), seconds(lambda: class_activation_maps(net, picture)))
        for _ in range(repeats)
    ]
    one_pass = median(plain for plain, _ in pairs)
    ratio = median(maps for _, maps in pairs) / one_pass
    print(f"forward pass       {1000 * one_pass:6.1f} ms ({torch.get_num_threads()} threads)")
    print(f"focusmap           {ratio:6.2f} forward passes for {N_LABELS} maps (at most 1.10 wanted)")
    for name in PEERS:
        compare(name, net, picture, one_pass)


if __name__ == "__main__":
    main()
