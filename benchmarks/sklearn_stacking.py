"""Our logistic head against scikit-learn's StackingClassifier on the same cached logits of a finished stack.

    python benchmarks/sklearn_stacking.py runs/cifar10_small/stack

Without a folder, members are generated. StackingClassifier gets estimators that hand out the members' probabilities
(`cv="prefit"`) and a LogisticRegression of the same C. Both are fitted on the stack's meta samples and tested on its
test samples; accuracies and negative log-likelihoods are printed, and the seconds of a fit in turns.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ensembling.heads.fitting import LogisticHead, fit_head
from measures.classification import classification_metrics


class Column(ClassifierMixin, BaseEstimator):
    """An estimator that knows a member's probabilities.

    Args:
        number: of the member
        num_classes: number of classes
    """

    def __init__(self, number=0, num_classes=2):
        self.number, self.num_classes = number, num_classes
        self.classes_ = np.arange(num_classes)

    def fit(self, features, labels):
        return self

    def predict_proba(self, features):
        return features[:, self.number * self.num_classes : (self.number + 1) * self.num_classes]


def generated(samples=2000, bases=3, classes=10):
    """Members that are right more often than not, and each in its own way."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for split in ("meta", "test"):
        labels = torch.randint(0, classes, (samples,), generator=generator)
        logits = torch.randn(samples, bases, classes, generator=generator)
        logits[torch.arange(samples), :, labels] += 2
        tensors |= {f"{split}/logits": logits, f"{split}/label": labels}
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path, nargs="?", help="folder of a finished stack; none generates members")
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two repeats, for make bench")
    options = parser.parse_args()
    tensors = load_file(options.stack / "logits.safetensors") if options.stack else generated()
    meta, labels, test, truth = (tensors[name] for name in ("meta/logits", "meta/label", "test/logits", "test/label"))
    bases, classes = meta.shape[1:]
    head = LogisticHead(C=options.C, features="probabilities")
    inputs, held = (part.double().softmax(2).flatten(1).numpy() for part in (meta, test))
    estimators = [(str(number), Column(number, classes)) for number in range(bases)]
    seconds = {"ours": [], "peer": []}
    for _ in range(2 if options.quick else options.repeats):
        start = time.perf_counter()
        module = fit_head(head, meta, labels, classes)
        seconds["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        final = LogisticRegression(C=options.C, tol=1e-8, max_iter=10_000)
        peer = StackingClassifier(estimators, final, cv="prefit").fit(inputs, labels.numpy())
        seconds["peer"].append(time.perf_counter() - start)
    with torch.no_grad():
        logits = {"ours": module(test), "peer": torch.from_numpy(peer.predict_proba(held)).log()}
    results = {name: classification_metrics(values, truth) for name, values in logits.items()}
    for name, values in results.items():
        print(f"{name}: accuracy {values['accuracy']:.4f}, NLL {values['nll']:.4f}")
    difference = float((logits["ours"].double().softmax(1) - logits["peer"].exp()).abs().max())
    print(f"largest difference of a probability: {difference:.1e}")
    medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
    ratio = statistics.median(p / o for o, p in zip(seconds["ours"], seconds["peer"], strict=True))
    print(json.dumps({**medians, "unit": "s", "ratio": round(ratio, 2), "samples": len(meta), "bases": bases}))


if __name__ == "__main__":
    main()
