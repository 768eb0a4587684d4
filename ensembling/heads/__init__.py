"""Meta-models: from the members' logits to the stack's."""

from ensembling.heads.base import Head
from ensembling.heads.logistic import LogisticHead
from ensembling.heads.mlp import MLPHead
from ensembling.heads.pooling import GreedyHead, MeanHead, TunedMeanHead, VoteHead

__all__ = ["GreedyHead", "Head", "LogisticHead", "MLPHead", "MeanHead", "TunedMeanHead", "VoteHead"]
