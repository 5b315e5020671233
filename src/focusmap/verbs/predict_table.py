"""Predict a table of any length on a cluster: each share of it becomes a Parquet file of answers, as one machine's."""

from functools import partial
from pathlib import Path

import pandas as pd

from focusmap.evaluation import answered, standings_of
from focusmap.models import load_run_model, model_fingerprint, model_folder, needs_of, ood_of, predict_chunks
from focusmap.scale import Share, Tally, Tool, write_share
from focusmap.study import ImageColumns, RunOptions, local_samples
from focusmap.study.streamed import Streamed, TableAnswer, one_table, refuse_more_than_images, stream
from focusmap.verbs.requests import PredictRequest


def predict_table(folder: Path, request: PredictRequest, options: RunOptions = RunOptions()) -> TableAnswer:
    """Write the predictions of a table's images as ``parts/*.parquet`` in `request.out`, in the order of the table.

    Columns and values are those of `focusmap.predict`; what cannot be read stands in ``failures.parquet``.

    Parameters
    ----------
    request
        With one table, CSV or Parquet, and a folder in `out`; with `resume` its parts that are there are left. The
        machines of a cluster see the run, the images and `out` under the same paths.
    options
        `workers` actors with a core each, as many as there are cores by default, of the cluster at `address`.

    Raises
    ------
    InputError
        If the model is shown more than single images, the table cannot be streamed or names no images, or there is no
        such cluster; if `out` holds parts, and neither `request.resume` nor `options.force` is given.
    MissingPartError
        If Ray is not installed.
    """
    table, out = one_table(request.inputs, request.out)
    refuse_more_than_images(folder, needs_of(load_run_model(folder, "cpu")))
    question = f"{model_fingerprint(model_folder(folder))} {request.error}"
    streamed = Streamed(table, out, question, request.declaration, options, resume=request.resume)
    return stream(folder, streamed, partial(_tool, folder.absolute(), out, request.error))


def _tool(folder: Path, out: Path, error: float, columns: ImageColumns) -> Tool:
    """Return what answers shares, with the model that it answers by; made once in each actor."""
    import torch

    torch.set_num_threads(1)
    model = load_run_model(folder, "cpu")
    ood, standings = ood_of(folder), standings_of(folder)

    def answer(share: Share) -> Tally:
        with local_samples(columns, share.rows, model.task) as samples:
            tables = [
                answered(chunk.predictions, standings, model.card.thresholds, error).to_table()
                for chunk in predict_chunks(model, samples, ood)
            ]
        answers = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"image_id": []})
        return write_share(share, out, answers, [failure.row for failure in samples.failures])

    return answer
