"""All heads fitted on 50,000 samples x 9 members x 10 classes: seconds and peak memory of each.

The choice of the logistic head's C by cross-validation is in its time. Generated logits. The last line's ours is the
sum over all heads, its peer what scikit-learn takes for ONE logistic regression of the same features at C = 1 (lbfgs,
its default tolerance), without any choice of C: a yardstick, not the same work.
"""

import argparse
import json
import resource
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.logistic_head import generate
from ensembling.heads.fitting import GreedyHead, LogisticHead, MeanHead, MLPHead, TunedMeanHead, cross_fit, fit_head
from ensembling.judging.calibration import fit_temperature


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--members", type=int, default=9)
    parser.add_argument("--cross_fit", action="store_true", help="cross-fit each head over 5 folds too")
    parser.add_argument("--quick", action="store_true", help="fewer samples, for make bench")
    options = parser.parse_args()
    samples = 1_000 if options.quick else options.samples
    warnings.filterwarnings("ignore")
    flat, labels = generate(samples, options.members)
    logits = flat.float().view(samples, options.members, 10)
    before, seconds = peak_mib(), {}
    heads = [MeanHead(), TunedMeanHead(), GreedyHead(), GreedyHead(metric="accuracy"), LogisticHead(), MLPHead()]
    for head in heads:
        start = time.perf_counter()
        module = fit_head(head, logits, labels, 10)
        with torch.no_grad():
            pooled = module(logits)
        fit = time.perf_counter() - start
        temperature = fit_temperature(pooled, labels)
        name = f"{head.name}_{head.metric}" if isinstance(head, GreedyHead) else head.name
        seconds[name] = round(fit, 2)
        accuracy = float((pooled.argmax(1) == labels).double().mean())
        print(f"{name}: {fit:.2f} s, peak {peak_mib():.0f} MiB, accuracy {accuracy:.4f}, temperature {temperature:.3f}")
        if options.cross_fit:
            start = time.perf_counter()
            cross_fit(head, logits, labels, 10)
            seconds[f"{name}_cross_fit"] = round(time.perf_counter() - start, 2)
            print(f"{name}: cross-fit {seconds[f'{name}_cross_fit']:.2f} s", flush=True)
    ours, peak = sum(seconds.values()), peak_mib()
    start = time.perf_counter()
    LogisticRegression(max_iter=10_000).fit(flat.numpy(), labels.numpy())
    peer = time.perf_counter() - start
    result = {"ours": round(ours, 2), "peer": round(peer, 2), "unit": "s", "ratio": round(peer / ours, 3)}
    memory = {"peak_mib": round(peak), "peak_mib_before": round(before)}
    print(json.dumps({**result, **memory, "seconds": seconds, "samples": samples, "members": options.members}))


if __name__ == "__main__":
    main()
