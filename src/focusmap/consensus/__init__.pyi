from .reference import consensus_table as consensus_table
from .reference import decide as decide
from .summary import describe_consensus as describe_consensus
