"""The logistic head on many classes against scikit-learn's LogisticRegression: lbfgs, its default tolerance.

Generated logits of overconfident members whose errors go together, as standardised log-probabilities in double
precision for both sides, at the same C: 30 classes that are nearly separate, 100 classes x 3 and x 9 members, and, with
--large, 1,000 classes x 3. Repeats are interleaved; a case's ratio is the peer's median over ours. Objectives are in
nats a sample: scikit-learn's tolerance bounds its gradient, and leaves the more of the objective the weaker the penalty
is, which `peer_above` says. With --matched, `matched` are the seconds of one fit at the loosest tolerance that comes
within 1e-6 of our objective, null if none of those tried does. `heads` are whole fits of the logistic head with its
choice of C, which have no peer here. The last line's ours and peer are the sums over the single fits.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from engine.allocator import keep_large_blocks
from ensembling.heads.fitting import LogisticHead, fit_head
from ensembling.solver.fit import fit_logistic
from tests.helpers.many_classes import many_classes

# samples, members, classes, options of the generator, values of C
SEPARATE = (3_000, 3, 30, {"skill": 2.0, "rank": 24}, (1.0, 100.0, 10_000.0))
HUNDRED = (5_000, 3, 100, {}, (0.01, 1.0))
NINE = (5_000, 9, 100, {}, (0.01,))
THOUSAND = (10_000, 3, 1_000, {}, (0.01,))


def objective(x, y, C, weight, bias):
    weight = torch.as_tensor(weight)
    loss = cross_entropy(x @ weight.T + torch.as_tensor(bias), y)
    return float(loss + 0.5 * weight.square().sum() / (C * len(y)))


def timed(run, *arguments):
    # threads of the other side's libraries still spin for a while
    time.sleep(0.3)
    start = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - start, result


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def matched(x, y, C, ours):
    """Return scikit-learn's seconds at its loosest tolerance that comes within 1e-6 of an objective."""
    for tol in (1e-5, 1e-6, 1e-7):
        seconds, model = timed(LogisticRegression(C=C, tol=tol, max_iter=3_000).fit, x.numpy(), y.numpy())
        if objective(x, y, C, model.coef_, model.intercept_) <= ours + 1e-6:
            return round(seconds, 3)
    return None


def single_fit(x, y, classes, C, repeats, match):
    def peer():
        return LogisticRegression(C=C, max_iter=10_000).fit(x.numpy(), y.numpy())

    ours, peers = [], []
    for _ in range(repeats):
        seconds, (weight, bias) = timed(fit_logistic, x, y, classes, C)
        ours.append(seconds)
        seconds, model = timed(peer)
        peers.append(seconds)
    left, right = statistics.median(ours), statistics.median(peers)
    lowest = objective(x, y, C, weight, bias)
    above = objective(x, y, C, model.coef_, model.intercept_) - lowest
    row = {"C": C, "ours": round(left, 4), "peer": round(right, 4), "ratio": round(right / left, 2)}
    row |= {"peer_above": float(f"{above:.2g}"), "peer_iterations": int(model.n_iter_[0])}
    return row | ({"matched": matched(x, y, C, lowest)} if match else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--large", action="store_true", help="1,000 classes too, which takes scikit-learn minutes a fit"
    )
    parser.add_argument("--matched", action="store_true", help="also time the peer at as good an objective as ours")
    parser.add_argument(
        "--only_head", action="store_true", help="no single fits: the head's time and peak memory alone"
    )
    parser.add_argument("--classes", type=int, help="of the cases, those of so many classes only")
    parser.add_argument("--quick", action="store_true", help="the smallest case once, for make bench")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    # train.py does this
    keep_large_blocks()
    cases = [(1_000, *SEPARATE[1:])] if options.quick else [SEPARATE, HUNDRED, NINE, *([THOUSAND] * options.large)]
    repeats, rows, heads, before = 1 if options.quick else options.repeats, [], [], peak_mib()
    for samples, members, classes, drawn, penalties in cases:
        if options.classes not in (None, classes):
            continue
        logits, y = many_classes(samples, members, classes, **drawn)
        case = {"classes": classes, "members": members, "samples": samples}
        start, cpu = time.perf_counter(), time.process_time()
        module = fit_head(LogisticHead(features="log_probabilities"), logits, y, classes)
        heads.append({**case, "seconds": round(time.perf_counter() - start, 2), "C": float(f"{float(module.C):.4g}")})
        heads[-1] |= {"cpu_seconds": round(time.process_time() - cpu, 2), "peak_mib": peak_mib()}
        print(f"head, C chosen: {heads[-1]} {' '.join(module.notes)}", flush=True)
        if options.only_head:
            continue
        x = logits.double().log_softmax(2).flatten(1)
        x = (x - x.mean(0)) / x.std(0)
        for C in penalties:
            rows.append({**case, **single_fit(x, y, classes, C, repeats, options.matched)})
            print(rows[-1], flush=True)
    ours, peer = sum(row["ours"] for row in rows), sum(row["peer"] for row in rows)
    result = {
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "unit": "s",
        "ratio": round(peer / ours, 2) if ours else None,
    }
    result |= {"peer_above": max((row["peer_above"] for row in rows), default=None), "peak_mib": peak_mib()}
    result |= {"peak_mib_before": before, "repeats": repeats, "cores": len(os.sched_getaffinity(0))}
    print(json.dumps({**result, "fits": rows, "heads": heads}))


if __name__ == "__main__":
    main()
