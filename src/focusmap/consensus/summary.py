"""What became of the readings, as plain values: agreement of each label and pair, and the cases to look at again."""

from collections.abc import Iterator, Sequence

import numpy as np

from focusmap.basics import Json, Reason, note_entries
from focusmap.consensus.agreement import Agreement, Metric, reader_agreement
from focusmap.consensus.reference import UNDECIDED, DawidSkene, Decision
from focusmap.statistics import Clusters, Resampling
from focusmap.study import NOT_READ, ConsensusOptions, Readings


def describe_consensus(
    readings: Readings, decisions: Sequence[Decision], options: ConsensusOptions, seed: int = 0
) -> dict[str, Json]:
    """Return the content of ``consensus.json``.

    Returns
    -------
    dict
        ``method, ties, soft, n_images, n_patients, clustered_by, readers, labels, disputed, notes``. Each label has
        its counts (``n_disputed``: readers gave different classes; ``n_ties``: classes were equal and nothing
        definitive is known; ``n_overridden``: the definitive answer is not what the readings say) and agreement with
        intervals that resample patients. ``disputed`` names every image and label that is disputed or overridden.
    """
    resampling = Resampling(Clusters.of(readings.patients), seed=seed)
    n_read = {
        reader: sum(int((votes[:, i] != NOT_READ).sum()) for votes in readings.votes.values())
        for i, reader in enumerate(readings.readers)
    }
    return {
        "method": options.method,
        "ties": options.ties,
        "soft": options.soft,
        "n_pictures": len(readings.names),
        "n_patients": resampling.clusters.n if readings.patient_column else None,
        "clustered_by": "patient" if readings.patient_column else "picture",
        "readers": {reader: {"n_readings": n} for reader, n in n_read.items()},
        "labels": {decision.target.name: _label(readings, decision, resampling) for decision in decisions},
        "disputed": [case for decision in decisions for case in _cases(readings, decision)],
        **note_entries("notes", [*readings.notes, *_unfinished(decisions)]),
    }


def _unfinished(decisions: Sequence[Decision]) -> list[Reason]:
    return [
        Reason("still-moving", name=decision.target.name, n=estimate.n_iterations)
        for decision in decisions
        if (estimate := decision.estimate) is not None and not estimate.converged
    ]


def _label(readings: Readings, decision: Decision, resampling: Resampling) -> dict[str, Json]:
    target, votes = decision.target, readings.votes[decision.target.name]
    metric: Metric = "ordinal" if target.kind == "ordinal" else "nominal"
    agreement = reader_agreement(votes, len(target.classes), resampling, metric)
    counts = np.bincount(decision.codes[decision.codes != UNDECIDED], minlength=len(target.classes))
    described: dict[str, Json] = {
        "kind": target.kind,
        "classes": list(target.classes),
        "counts": {name: int(n) for name, n in zip(target.classes, counts, strict=True)},
        "n_readings": int((votes != NOT_READ).sum()),
        "n_disputed": int(decision.disputed.sum()),
        "n_ties": int((decision.tied & ~decision.known).sum()),
        "n_definitive": int(decision.known.sum()),
        "n_overridden": int(decision.overridden.sum()),
        "n_unread": int(decision.unread.sum()),
        "n_undecided": int((decision.codes == UNDECIDED).sum()),
        **_agreement(agreement, readings.readers),
    }
    if decision.estimate is not None:
        described["dawid_skene"] = _estimate(decision.estimate, decision, readings.readers)
    return described


def _agreement(found: Agreement, readers: Sequence[str]) -> dict[str, Json]:
    pairs: list[Json] = [
        {"a": readers[pair.a], "b": readers[pair.b], "n": pair.n, "agreement": pair.agreement.to_dict(),
         "cohen_kappa": pair.kappa.to_dict()}
        for pair in found.pairs
    ]  # fmt: skip
    return {
        "fleiss_kappa": {**found.fleiss.to_dict(), "n_pictures": found.n_fleiss, "n_readings_each": found.n_each},
        "krippendorff_alpha": {**found.alpha.to_dict(), "metric": found.metric},
        "pairs": pairs,
    }


def _estimate(estimate: DawidSkene, decision: Decision, readers: Sequence[str]) -> dict[str, Json]:
    shares = [[[None if np.isnan(x) else float(x) for x in row] for row in table] for table in estimate.errors]
    of_readers: dict[str, Json] = {}
    for reader, table in zip(readers, shares, strict=True):
        errors: list[Json] = [list(row) for row in table]
        of_readers[reader] = {"errors": errors}
        if decision.target.kind == "binary":
            of_readers[reader] = {"sensitivity": table[1][1], "specificity": table[0][0], "errors": errors}
    prevalence = zip(decision.target.classes, estimate.prevalence, strict=True)
    return {
        "converged": estimate.converged,
        "n_iterations": estimate.n_iterations,
        "log_likelihood": estimate.log_likelihoods[-1],
        "prevalence": {name: float(share) for name, share in prevalence},
        "readers": of_readers,
    }


def _cases(readings: Readings, decision: Decision) -> Iterator[dict[str, Json]]:
    """Yield the disputed and the overridden images of one label."""
    classes, votes, patients = decision.target.classes, readings.votes[decision.target.name], readings.patients
    for i in np.flatnonzero(decision.disputed | decision.overridden):
        readings_of = {
            reader: classes[vote] for reader, vote in zip(readings.readers, votes[i], strict=True) if vote != NOT_READ
        }
        code = int(decision.codes[i])
        yield {
            "picture": readings.names[i],
            "patient": patients[i] if readings.patient_column else None,
            "label": decision.target.name,
            "votes": readings_of,
            "decided": None if code == UNDECIDED else classes[code],
            "by": decision.by(int(i)),
            "overridden": bool(decision.overridden[i]),
            "probabilities": {name: float(p) for name, p in zip(classes, decision.shares[i], strict=True)},
        }
