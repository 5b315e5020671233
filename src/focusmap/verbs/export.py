"""Export: a run's model as one graph for other programs, or for the run's own answers."""

from pathlib import Path

from focusmap import models


def export(folder: Path, format_name: str, out: Path | None = None, *, force: bool = False) -> "models.Exported":
    """Write the model of a run, or of a model folder, as ``onnx`` or ``openvino`` with ``export.json`` to `out`.

    Parameters
    ----------
    folder
        Of the run, or of the model.
    format_name
        ``onnx`` or ``openvino``.
    out
        None: into the model's own folder, where `focusmap.predict` finds it.
    force
        Replace an export that is there.

    Raises
    ------
    InputError
        If there is no such format, the run has no model, `out` holds an export and `force` is not given, or the model
        does not export; the message says why.
    MissingPartError
        If what exports is not installed.
    """
    place = models.model_folder(folder)
    return models.export_model(
        models.load_model(place), format_name, out or models.graph_folder(place, format_name), of=place, force=force
    )
