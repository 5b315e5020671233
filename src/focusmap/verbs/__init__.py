"""The verbs: one function each, the same that the command line calls. Each returns the value that it writes."""

from focusmap.faithfulness.measuring import TrustRequest
from focusmap.models.any import can_be_mapped
from focusmap.study.options import RunOptions
from focusmap.study.run import Run, open_run
from focusmap.verbs.anomalies import evaluate_anomalies, is_unlabelled
from focusmap.verbs.compare import compare
from focusmap.verbs.consensus import ConsensusRequest, consensus
from focusmap.verbs.convert import ConvertRequest, convert
from focusmap.verbs.evaluate import evaluate, evaluate_cases, evaluate_other, evaluate_table
from focusmap.verbs.explain import ExplainRequest, ExplainResult, explain
from focusmap.verbs.export import export
from focusmap.verbs.index import IndexAnswer, index
from focusmap.verbs.predict import PredictAnswer, PredictRequest, predict
from focusmap.verbs.prepare import Prepared, audit, prepare_run, refuse_blocking, split
from focusmap.verbs.report import report
from focusmap.verbs.run import demo, resume_run, run
from focusmap.verbs.segment import SegmentRequest, SegmentResult, segment
from focusmap.verbs.train import resume, train

__all__ = [
    "ConsensusRequest", "ConvertRequest", "ExplainRequest", "ExplainResult", "IndexAnswer", "PredictAnswer",
    "PredictRequest", "Prepared", "Run", "RunOptions", "SegmentRequest", "SegmentResult", "TrustRequest", "audit",
    "can_be_mapped", "compare", "consensus", "convert", "demo", "evaluate", "evaluate_anomalies", "evaluate_cases",
    "evaluate_other", "evaluate_table", "explain", "export", "index", "is_unlabelled", "open_run", "predict",
    "prepare_run", "refuse_blocking", "report", "resume", "resume_run", "run", "segment", "split", "train",
]  # fmt: skip
