"""What is added to commands that train, so that they are done in seconds."""

NET = "small-residual"


def quick(model: str = "", *, size: int = 32, epochs: int = 1, more: str = "") -> list[str]:
    """Return options for a training of few epochs on one process; without `model` the command names its own.

    >>> quick("small-residual", more="--batch-size 4")[-4:]
    ['--workers', '1', '--batch-size', '4']
    """
    net = ["--model", model] if model else []
    sizes = ["--size", str(size)] if size else []
    return [*net, *sizes, "--epochs", str(epochs), "--weights", "none", "--workers", "1", *more.split()]


QUICK = quick(NET)
