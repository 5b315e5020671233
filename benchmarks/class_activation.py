"""Heat maps of 14 labels for one picture: what each method costs in forward passes, beside three peers.

DenseNet121, 224 x 224, fp32. A method's cost is a part per picture and a part per label; both are found from the time
that one label takes and that several take. Times are of the processor, and the forward pass and our maps take turns, so
that a busy machine slows both. A peer runs one label after another, as its interface asks, is timed on one label and
scaled to all. The largest difference between its map and ours is printed, as a share of the greatest value. Peers that
are not installed are named (`pip install captum grad-cam monai`).

    python benchmarks/class_activation.py [--repeats 20] [--method NAME]
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time

import numpy as np
import torch
from torch import Tensor

from focusmap.heatmaps import METHODS, heat_maps
from focusmap.heatmaps.gradients import N_STEPS
from focusmap.heatmaps.perturbation import patches
from focusmap.nets.build import Architecture, FocusNet, build_net

N_LABELS, SIZE = 14, 224
# A method that takes longer is timed on few labels, and once.
CHEAP, FEW = 3.0, 3
Peer = Callable[[FocusNet, Tensor, int], np.ndarray]


def captum_grad_cam(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import LayerGradCam

    found = LayerGradCam(net, net.backbone).attribute(picture, target=label, relu_attributions=True)
    return found[0, 0].detach().numpy()


def captum_hires_cam(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import LayerGradientXActivation

    found = LayerGradientXActivation(net, net.backbone).attribute(picture, target=label)
    return found[0].sum(dim=0).clamp(min=0).detach().numpy()


def captum_saliency(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import Saliency

    return Saliency(net).attribute(picture.clone().requires_grad_(), target=label)[0].amax(dim=0).numpy()


def captum_integrated_gradients(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import IntegratedGradients

    settings = {"n_steps": N_STEPS, "method": "riemann_middle", "internal_batch_size": 4}
    return IntegratedGradients(net).attribute(picture, target=label, **settings)[0].sum(dim=0).detach().numpy()


def captum_occlusion(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    from captum.attr import Occlusion

    first, second = list(patches((SIZE, SIZE)))[:2]
    width, stride = first[1].stop, second[1].start
    window = {"sliding_window_shapes": (1, width, width), "strides": (1, stride, stride)}
    return Occlusion(net).attribute(picture, target=label, **window)[0].sum(dim=0).numpy()


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


PEERS: dict[str, dict[str, Peer]] = {
    "gradcam": {"Captum": captum_grad_cam, "pytorch-grad-cam": pytorch_grad_cam, "MONAI": monai},
    "hirescam": {"Captum": captum_hires_cam},
    "gradients": {"Captum": captum_saliency},
    "integrated-gradients": {"Captum": captum_integrated_gradients},
    "occlusion": {"Captum": captum_occlusion},
}


def net_with_evidence(picture: Tensor) -> FocusNet:
    """An untrained net whose maps are positive in some places: its head is blind to the mean feature."""
    net = build_net(Architecture("densenet121", 1, N_LABELS)).eval()
    with torch.no_grad():
        mean = net.features(picture).mean(dim=(0, 2, 3))
        net.head.weight -= torch.outer(net.head.weight @ mean, mean) / mean.square().sum()
    return net


def seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


def passes(net: FocusNet, picture: Tensor, work: Callable[[], object], repeats: int) -> float:
    """What `work` costs in forward passes, the median of pairs."""

    def forward() -> Tensor:
        with torch.inference_mode():
            return net(picture)

    pairs = [(seconds(forward), seconds(work)) for _ in range(repeats)]
    return median(took for _, took in pairs) / median(plain for plain, _ in pairs)


def difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """The largest difference as a share of the greatest value, where both lie on the same grid and scale."""
    if theirs.shape != ours.shape:
        return "scaled and up-sampled before it is handed over, so not compared"
    return f"differs by at most {np.abs(theirs - ours).max() / ours.max():.1e}"


def measure(method: str, net: FocusNet, picture: Tensor, repeats: int) -> None:
    def cost(n_labels: int, n: int) -> float:
        return passes(net, picture, lambda: heat_maps(net, picture, method, range(n_labels)), n)

    cheap = cost(1, 1) < CHEAP
    several, n = (N_LABELS, repeats) if cheap else (FEW, 1)
    one, many = cost(1, n), cost(several, n)
    per_label = max((many - one) / (several - 1), 0.0)
    total = one + (N_LABELS - 1) * per_label
    print(f"{method:<22}{one - per_label:8.2f} a picture + {per_label:6.3f} a label = {total:8.2f} forward passes")


def compare(method: str, name: str, net: FocusNet, picture: Tensor) -> None:
    ours = heat_maps(net, picture, method, [0]).maps[0, 0].numpy()
    peer = PEERS[method][name]
    try:
        theirs = peer(net, picture, 0)
    except ImportError:
        print(f"  {name:<20}not installed")
        return
    took = passes(net, picture, lambda: peer(net, picture, 1), 1)
    print(f"  {name:<20}{took:8.2f} a label = {took * N_LABELS:8.2f} forward passes; {difference(theirs, ours)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--method", choices=METHODS, help="only this one")
    parsed = parser.parse_args()
    picture = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    net = net_with_evidence(picture)
    for _ in range(2):
        heat_maps(net, picture)
    print(f"{N_LABELS} maps of one picture, {torch.get_num_threads()} threads")
    for method in [parsed.method] if parsed.method else METHODS:
        measure(method, net, picture, parsed.repeats)
        for name in PEERS.get(method, {}):
            compare(method, name, net, picture)


if __name__ == "__main__":
    main()
