"""Where a net computes and with which numbers: the one place that sets up Lightning Fabric."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from focusmap.basics import InputError
from focusmap.study import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Devices:
    """What a training computes on: ``cuda``, ``mps`` or ``cpu``, how many of them here, and on how many machines."""

    accelerator: str
    n: int = 1
    n_nodes: int = 1

    @property
    def n_processes(self) -> int:
        """All of them, each with its own share of every batch."""
        return self.n * self.n_nodes


def choose_devices(wanted: str = "auto", n_nodes: int = 1) -> Devices:
    """Return the devices that `wanted` names: ``auto`` (the accelerator where there is one), a name, a number or both.

    Raises
    ------
    InputError
        If there are no such devices here.

    >>> choose_devices("cpu:2")
    Devices(accelerator='cpu', n=2, n_nodes=1)
    """
    name, _, count = ("auto", "", wanted) if wanted.isdecimal() else wanted.partition(":")
    accelerator = _accelerator(name)
    if count and (not count.isdecimal() or int(count) < 1):
        raise InputError(f"devices {wanted!r}: {count!r} is no number of devices. Write 2, or {accelerator}:2.")
    n = int(count or 1)
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, n)
    if n > there:
        raise InputError(f"devices {wanted!r}: there are {there} {accelerator} devices here.")
    if n_nodes < 1:
        raise InputError(f"nodes {n_nodes}: at least 1 is needed.")
    return Devices(accelerator, n, n_nodes)


def open_fabric(devices: Devices, precision: Precision = "auto") -> "Fabric":
    """Return a Fabric: launched on one device; for several processes it is launched with what they are to do.

    Parameters
    ----------
    devices
        As `choose_devices` gives them.
    precision
        ``auto`` is bf16 where `has_bf16` and fp32 elsewhere; never fp16.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.strategies import DDPStrategy

    bf16 = precision == "bf16" or (precision == "auto" and has_bf16(devices.accelerator))
    is_alone = devices.n_processes == 1
    # Frozen backbones and unused heads have weights without gradients.
    strategy = "auto" if is_alone else DDPStrategy(start_method="spawn", find_unused_parameters=True)
    fabric = Fabric(
        accelerator=devices.accelerator,
        devices=devices.n,
        num_nodes=devices.n_nodes,
        strategy=strategy,
        # Asked for by its name, Fabric would tell the user of it on the terminal.
        plugins=MixedPrecision("bf16-mixed", devices.accelerator) if bf16 else None,
    )
    if is_alone:
        fabric.launch()
    return fabric


def _accelerator(device: str) -> str:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in present.items() if there)
    if device not in present:
        raise InputError(f"device {device!r} is not one of auto, {', '.join(present)}.")
    if not present[device]:
        raise InputError(f"device {device!r}: this machine has none that torch can use. Try --devices cpu.")
    return device


def has_bf16(device: str) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    if device == "cpu":
        # torch offers no public question for this; where the private one is gone, float32 is always right.
        questions = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(ask()) for ask in questions if ask is not None)
    return device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)


@contextmanager
def mixed_precision(device: str) -> Iterator[None]:
    """Within it, what trains on a device computes in bfloat16 where that is faster."""
    with DepthwiseInFloat32(), torch.autocast(device, torch.bfloat16, enabled=has_bf16(device)):
        yield


class DepthwiseInFloat32(TorchFunctionMode):
    """Within it, convolutions in groups that are trained on a CPU compute in float32, whatever autocast says.

    Their gradients in bfloat16 took oneDNN five to fifty times as long as in float32: two thirds of a training step of
    EfficientNet-Lite0.
    """

    CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self.CONVOLUTIONS or not _is_slow_in_bf16(*args[:2]):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(args[0].float(), *args[1:], **kwargs)


def _is_slow_in_bf16(images: Tensor, weights: Tensor) -> bool:
    is_grouped = weights.shape[1] < images.shape[1]
    is_trained = torch.is_grad_enabled() and (images.requires_grad or weights.requires_grad)
    return is_grouped and is_trained and images.device.type == "cpu"
