"""What options of stacks and heads take, known without importing torch."""

from typing import Literal

# views of each image that a member's logits are averaged over
TTA = Literal["none", "flip", "flip_shift"]
# what a head sees of each member
Features = Literal["logits", "log_probabilities", "probabilities"]
# how an MLP head is trained
MetaOptimizer = Literal["adamw", "adam", "sgd"]
MetaSchedule = Literal["cosine", "constant"]
# folder of logits, next to what data sets keep of image files
LOGIT_CACHE = "runs/.cache/logits"

# a gain below this does not matter: a tenth of a point of accuracy, or as many nats of NLL, which is a tenth of a
# percent more probability of the true class
SMALLEST_GAIN = 0.001
# what becomes of meta samples that a member was fitted on, and of those that are probably copies of such
LeakedSamples = Literal["refuse", "drop"]
NearCopies = Literal["tell", "refuse"]
