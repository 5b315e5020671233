"""Export: a run's model as one graph for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.models import as_net, load_run_model

if TYPE_CHECKING:
    from focusmap.models import Exported


def export(folder: Path, format_name: str, out: Path, *, force: bool = False) -> "Exported":
    """Write the model of a run, or of a model folder, as ``onnx`` or ``openvino`` with ``export.json`` to `out`.

    Raises
    ------
    InputError
        If there is no such format, the run has no model, `out` holds an export and `force` is not given, or the model
        does not export; the message says why.
    MissingPartError
        If what exports is not installed.
    """
    from focusmap.models import export_model

    return export_model(as_net(load_run_model(folder, "cpu"), folder), format_name, out, force=force)
