"""focusmap: from medical images and a table of findings to an evaluated, explained and reported classifier.

The verbs of the command line are functions here; each returns the value that the command writes. Nothing is
imported before it is used.
"""

import sys
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focusmap.dicom import DicomRequest, dicom
    from focusmap.everything import accept, demo, evaluate_anomalies, resume_run, run
    from focusmap.images import read_image
    from focusmap.installation import diagnose as doctor
    from focusmap.loaded import load_model
    from focusmap.reading_room import serve
    from focusmap.reading_room import write_corrections as corrections
    from focusmap.study import Recipe, open_run, read_cohort, read_recipe
    from focusmap.study.options import (
        ConsensusOptions,
        ConvertRequest,
        Declaration,
        ReadingsDeclaration,
        RunOptions,
        TrustRequest,
    )
    from focusmap.verbs.challenge import challenge
    from focusmap.verbs.compare import compare
    from focusmap.verbs.consensus import consensus
    from focusmap.verbs.convert import convert
    from focusmap.verbs.evaluate import evaluate, evaluate_cases, evaluate_other, evaluate_table
    from focusmap.verbs.explain import explain
    from focusmap.verbs.export import export
    from focusmap.verbs.index import index
    from focusmap.verbs.predict import predict
    from focusmap.verbs.prepare import audit, split
    from focusmap.verbs.prepare import prepare_run as prepare
    from focusmap.verbs.report import report
    from focusmap.verbs.reproduce import reproduce
    from focusmap.verbs.requests import (
        ConsensusRequest,
        ExplainRequest,
        PredictRequest,
        SegmentRequest,
        ServeRequest,
    )
    from focusmap.verbs.segment import segment
    from focusmap.verbs.train import resume, train

_HOMES = {
    "ConsensusOptions": "study.options",
    "ConsensusRequest": "verbs.requests",
    "ConvertRequest": "study.options",
    "Declaration": "study.options",
    "DicomRequest": "dicom.request",
    "ExplainRequest": "verbs.requests",
    "PredictRequest": "verbs.requests",
    "ReadingsDeclaration": "study.options",
    "Recipe": "study.recipe",
    "RunOptions": "study.options",
    "SegmentRequest": "verbs.requests",
    "ServeRequest": "verbs.requests",
    "TrustRequest": "study.options",
    "accept": "everything",
    "audit": "verbs.prepare",
    "challenge": "verbs.challenge",
    "compare": "verbs.compare",
    "consensus": "verbs.consensus",
    "corrections": "reading_room.corrections:write_corrections",
    "convert": "verbs.convert",
    "demo": "everything",
    "dicom": "dicom.doing",
    "doctor": "installation:diagnose",
    "evaluate": "verbs.evaluate",
    "evaluate_anomalies": "everything",
    "evaluate_cases": "verbs.evaluate",
    "evaluate_other": "verbs.evaluate",
    "evaluate_table": "verbs.evaluate",
    "explain": "verbs.explain",
    "export": "verbs.export",
    "index": "verbs.index",
    "load_model": "loaded",
    "open_run": "study.run",
    "predict": "verbs.predict",
    "prepare": "verbs.prepare:prepare_run",
    "read_cohort": "study.cohort",
    "read_image": "images.read",
    "read_recipe": "study.recipe",
    "report": "verbs.report",
    "reproduce": "verbs.reproduce",
    "resume": "verbs.train",
    "resume_run": "everything",
    "run": "everything",
    "segment": "verbs.segment",
    "serve": "reading_room.site",
    "split": "verbs.prepare",
    "train": "verbs.train",
}

__all__ = [
    "ConsensusOptions", "ConsensusRequest", "ConvertRequest", "Declaration", "DicomRequest", "ExplainRequest",
    "PredictRequest", "ReadingsDeclaration", "Recipe", "RunOptions", "SegmentRequest", "ServeRequest",
    "TrustRequest", "accept", "audit", "challenge", "compare", "consensus", "convert", "corrections", "demo", "dicom",
    "doctor", "evaluate", "evaluate_anomalies", "evaluate_cases", "evaluate_other", "evaluate_table", "explain",
    "export", "index", "load_model", "open_run", "predict", "prepare", "read_cohort", "read_image",
    "read_recipe", "report", "reproduce", "resume", "resume_run", "run", "segment", "serve", "split", "train",
]  # fmt: skip


class _Verbs(ModuleType):
    """This package: where a room bears the name of a verb (`audit`, `report`), the name is the verb's."""

    def __getattr__(self, name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'focusmap' has no attribute {name!r}")
        home, _, called = _HOMES[name].partition(":")
        found = getattr(import_module(f"focusmap.{home}"), called or name)
        if isinstance(found, FunctionType):
            from focusmap.settings import takes_text

            found = takes_text(found)
        super().__setattr__(name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # The import of a room sets it as an attribute of the package.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Verbs
