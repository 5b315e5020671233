"""Heat maps of 14 labels for one image: what each method costs in forward passes, beside three peers.

In two dimensions DenseNet121 at 224 x 224 (attention roll-out: a small ViT; focus maps: DenseNet121 and FPN), in three
MONAI's ResNet-10 at 48 x 48 x 48; fp32. A method's cost is a part per image and a part per label; both are found from
the time that one label takes and that several take. Times are of the processor, and the forward pass and our maps take
turns, so that a busy machine slows both. A peer runs one label after another, as its interface asks, is timed on one
label and scaled to all. The largest difference between its map and ours is printed, as a share of the greatest value.
Peers that are not installed are named (`pip install captum grad-cam monai`).

    python benchmarks/class_activation.py [--dims 3] [--repeats 20] [--method NAME ...]
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.heatmaps import heat_maps, methods_of
from focusmap.heatmaps.gradients import N_STEPS
from focusmap.heatmaps.methods import METHODS
from focusmap.heatmaps.perturbation import patches
from focusmap.nets import Architecture, FocusNet, build_net

N_LABELS = 14
SHAPES = {2: (224, 224), 3: (48, 48, 48)}
# Methods that DenseNet121 has nothing for.
NETS = {"focus": "densenet121-fpn", "rollout": "vit_tiny_patch16_224"}
COPIES = ("cam@mirror", "cam@sizes", "cam@moves")
# A method that takes longer is timed on few labels, and once.
CHEAP, FEW = 3.0, 3


class VolumeNet(nn.Module):
    """MONAI's ResNet-10 in three dimensions, average pooling and one linear layer."""

    has_stages = True

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import resnet10

        net = resnet10(spatial_dims=3, n_input_channels=1, conv1_t_stride=2, feed_forward=False)
        parts = (net.conv1, net.bn1, net.act, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
        self.backbone, self.head = nn.Sequential(*parts), nn.Linear(512, N_LABELS)
        for module in self.modules():
            if getattr(module, "inplace", False):
                module.inplace = False

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def stages(self, x: Tensor) -> list[Tensor]:
        found = [self.backbone[:5](x)]
        for layer in self.backbone[5:]:
            found.append(layer(found[-1]))
        return found

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features.flatten(2).mean(dim=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


MappedNet = FocusNet | VolumeNet
Peer = Callable[[MappedNet, Tensor, int], np.ndarray]


def captum_grad_cam(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import LayerGradCam

    found = LayerGradCam(net, net.backbone).attribute(image, target=label, relu_attributions=True)
    return found[0, 0].detach().numpy()


def captum_hires_cam(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import LayerGradientXActivation

    found = LayerGradientXActivation(net, net.backbone).attribute(image, target=label)
    return found[0].sum(dim=0).clamp(min=0).detach().numpy()


def captum_saliency(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import Saliency

    return Saliency(net).attribute(image.clone().requires_grad_(), target=label)[0].amax(dim=0).numpy()


def captum_guided_backprop(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import GuidedBackprop

    found = GuidedBackprop(net).attribute(image.clone().requires_grad_(), target=label)
    return found[0].abs().amax(dim=0).numpy()


def captum_integrated_gradients(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import IntegratedGradients

    settings = {"n_steps": N_STEPS, "method": "riemann_middle", "internal_batch_size": 4}
    return IntegratedGradients(net).attribute(image, target=label, **settings)[0].sum(dim=0).detach().numpy()


def captum_occlusion(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
    from captum.attr import Occlusion

    shape = image.shape[2:]
    starts = sorted({patch[0].start for patch in patches(shape)})
    width, n_dims = next(patches(shape))[0].stop, len(shape)
    window = {"sliding_window_shapes": (1, *[width] * n_dims), "strides": (1, *[starts[1]] * n_dims)}
    return Occlusion(net).attribute(image, target=label, **window)[0].sum(dim=0).numpy()


def grad_cam_package(name: str) -> Peer:
    """Return a method of pytorch-grad-cam; its maps come min-max scaled and up-sampled, so their scale is lost."""

    def draw(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with getattr(pytorch_grad_cam, name)(model=net, target_layers=[net.backbone]) as cam:
            return cam(input_tensor=image, targets=[ClassifierOutputTarget(label)])[0]

    return draw


def monai_cam(name: str) -> Peer:
    """Return a CAM of MONAI's, without its default normaliser, which turns maps upside down, and its up-sampling."""

    def draw(net: MappedNet, image: Tensor, label: int) -> np.ndarray:
        import monai.visualize

        plain = {"upsampler": lambda _: lambda x: x, "postprocessing": lambda x: x}
        found = getattr(monai.visualize, name)(net, target_layers="backbone", **plain)(image, class_idx=label)
        return found[0, 0].detach().numpy()

    return draw


PEERS: dict[str, dict[str, Peer]] = {
    "gradcam": {
        "Captum": captum_grad_cam,
        "pytorch-grad-cam": grad_cam_package("GradCAM"),
        "MONAI": monai_cam("GradCAM"),
    },
    "gradcam++": {"pytorch-grad-cam": grad_cam_package("GradCAMPlusPlus"), "MONAI": monai_cam("GradCAMpp")},
    "hirescam": {"Captum": captum_hires_cam, "pytorch-grad-cam": grad_cam_package("HiResCAM")},
    "layercam": {"pytorch-grad-cam": grad_cam_package("LayerCAM")},
    "eigencam": {"pytorch-grad-cam": grad_cam_package("EigenCAM")},
    "ablationcam": {"pytorch-grad-cam": grad_cam_package("AblationCAM")},
    "scorecam": {"pytorch-grad-cam": grad_cam_package("ScoreCAM")},
    "gradients": {"Captum": captum_saliency},
    "guided-backprop": {"Captum": captum_guided_backprop},
    "integrated-gradients": {"Captum": captum_integrated_gradients},
    "occlusion": {"Captum": captum_occlusion},
}


def net_with_evidence(name: str, image: Tensor) -> MappedNet:
    """An untrained net whose maps are positive in some places: its head is blind to the mean feature."""
    torch.manual_seed(0)
    net = (build_net(Architecture(name, 1, N_LABELS)) if image.ndim == 4 else VolumeNet()).eval()
    with torch.no_grad():
        mean = net.features(image).flatten(2).mean(dim=(0, 2))
        net.head.weight -= torch.outer(net.head.weight @ mean, mean) / mean.square().sum()
    return net


def seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


def passes(net: MappedNet, image: Tensor, work: Callable[[], object], repeats: int) -> float:
    """What `work` costs in forward passes, the median of pairs."""

    def forward() -> Tensor:
        with torch.inference_mode():
            return net(image)

    pairs = [(seconds(forward), seconds(work)) for _ in range(repeats)]
    return median(took for _, took in pairs) / median(plain for plain, _ in pairs)


def difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """The largest difference as a share of the greatest value, where both lie on the same grid and scale."""
    if theirs.shape != ours.shape:
        return "scaled and up-sampled before it is handed over, so not compared"
    return f"differs by at most {np.abs(theirs - ours).max() / ours.max():.1e}"


def measure(method: str, net: MappedNet, image: Tensor, repeats: int) -> None:
    def cost(n_labels: int, n: int) -> float:
        return passes(net, image, lambda: heat_maps(net, image, method, range(n_labels)), n)

    cheap = cost(1, 1) < CHEAP
    several, n = (N_LABELS, repeats) if cheap else (FEW, 1)
    one, many = cost(1, n), cost(several, n)
    per_label = max((many - one) / (several - 1), 0.0)
    total = one + (N_LABELS - 1) * per_label
    print(f"{method:<22}{one - per_label:8.2f} an image + {per_label:6.3f} a label = {total:8.2f} forward passes")


def compare(method: str, name: str, net: MappedNet, image: Tensor) -> None:
    ours = heat_maps(net, image, method, [0]).maps[0, 0].numpy()
    peer = PEERS[method][name]
    try:
        theirs = peer(net, image, 0)
    except ImportError:
        print(f"  {name:<20}not installed")
        return
    except Exception as error:  # some peers' methods are for images alone
        print(f"  {name:<20}fails ({str(error).splitlines()[0]})")
        return
    took = passes(net, image, lambda: peer(net, image, 1), 1)
    print(f"  {name:<20}{took:8.2f} a label = {took * N_LABELS:8.2f} forward passes; {difference(theirs, ours)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, choices=SHAPES, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--method", nargs="+", default=[*METHODS, *COPIES], help="only these")
    parsed = parser.parse_args()
    image = torch.randn(1, 1, *SHAPES[parsed.dims], generator=torch.Generator().manual_seed(0))
    print(f"{N_LABELS} maps of one image, {torch.get_num_threads()} threads")
    measure_all(parsed.method, image, parsed.repeats)


def measure_all(methods: Sequence[str], image: Tensor, repeats: int) -> None:
    usual = net_with_evidence("densenet121", image)
    for method in methods:
        net = net_with_evidence(NETS[method], image) if method in NETS and image.ndim == 4 else usual
        if method.partition("@")[0] not in methods_of(net):
            print(f"{method:<22}not of this net")
            continue
        for _ in range(2):
            heat_maps(net, image)
        measure(method, net, image, repeats)
        for name in PEERS.get(method, {}):
            compare(method, name, net, image)


if __name__ == "__main__":
    main()
