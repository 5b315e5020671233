"""Where a net computes and with which numbers: the one place that sets up Lightning Fabric."""

from typing import TYPE_CHECKING

import torch

from focusmap.errors import InputError
from focusmap.values.recipe import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def open_fabric(device: str = "auto", precision: Precision = "auto") -> "Fabric":
    """Return a launched Fabric on one device.

    Parameters
    ----------
    device
        ``auto`` (the accelerator where there is one), ``cpu``, ``cuda`` or ``mps``.
    precision
        ``auto`` is bf16 where `has_bf16` and fp32 elsewhere; never fp16.

    Raises
    ------
    InputError
        If there is no such device here.
    """
    from lightning_fabric import Fabric

    chosen = _accelerator(device)
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16(chosen))
    fabric = Fabric(accelerator=chosen, devices=1, precision="bf16-mixed" if bf16 else "32-true")
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
        asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(ask()) for ask in asked if ask is not None)
    return device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
