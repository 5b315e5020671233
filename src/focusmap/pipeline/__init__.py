"""The verbs: one function each, the same that the command line calls. Each returns the value that it writes."""

from focusmap.pipeline.agreeing import ConsensusRequest, consensus
from focusmap.pipeline.anomalies import evaluate_anomalies, is_unlabelled
from focusmap.pipeline.comparing import compare
from focusmap.pipeline.converting import ConvertRequest, convert
from focusmap.pipeline.evaluating import evaluate, evaluate_cases, evaluate_other, evaluate_table
from focusmap.pipeline.explaining import ExplainRequest, ExplainResult, explain
from focusmap.pipeline.exporting import export
from focusmap.pipeline.indexing import IndexAnswer, index
from focusmap.pipeline.models import can_be_mapped
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.predicting import PredictAnswer, PredictRequest, predict
from focusmap.pipeline.preparing import Prepared, audit, prepare_run, refuse_blocking, split
from focusmap.pipeline.reporting import report
from focusmap.pipeline.runs import Run, open_run
from focusmap.pipeline.segmenting import SegmentRequest, SegmentResult, segment
from focusmap.pipeline.training import resume, train
from focusmap.pipeline.trusting import TrustRequest
from focusmap.pipeline.whole import demo, resume_run, run

__all__ = [
    "ConsensusRequest", "ConvertRequest", "ExplainRequest", "ExplainResult", "IndexAnswer", "PredictAnswer",
    "PredictRequest", "Prepared", "Run", "RunOptions", "SegmentRequest", "SegmentResult", "TrustRequest", "audit",
    "can_be_mapped", "compare", "consensus", "convert", "demo", "evaluate", "evaluate_anomalies", "evaluate_cases",
    "evaluate_other", "evaluate_table", "explain", "export", "index", "is_unlabelled", "open_run", "predict",
    "prepare_run", "refuse_blocking", "report", "resume", "resume_run", "run", "segment", "split", "train",
]  # fmt: skip
