"""The logistic head's solver against scikit-learn's: a single fit, and the choice of C over 5 folds x 10 values.

Generated logits of three members, 10,000 x 30 features and 10 classes. scikit-learn's best of lbfgs and
newton-cholesky counts, with the loosest tolerance whose objective is within 1e-6 (relative) of the lowest, as ours is;
its grid is run as LogisticRegressionCV does, from the strongest penalty to the weakest with warm starts, and by single
fits from zero, folds in as many processes as there are cores, whichever is faster. The last line is the grid's.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from engine.allocator import keep_large_blocks
from ensembling.folds import meta_folds
from ensembling.heads.logistic import LogisticHead
from ensembling.solver.cv import fit_logistic_cv
from ensembling.solver.fit import fit_logistic

SOLVERS = ("lbfgs", "newton-cholesky")
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)
CORES = len(os.sched_getaffinity(0))


def generate(samples, members=3, num_classes=10):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % num_classes
    logits = 1.5 * torch.randn(samples, members, num_classes, generator=generator)
    logits += torch.randn(samples, 1, num_classes, generator=generator)
    logits += 4 * torch.nn.functional.one_hot(labels, num_classes)[:, None]
    return logits.flatten(1).double(), labels


def objective(x, y, C, weight, bias):
    weight = torch.as_tensor(weight)
    loss = torch.nn.functional.cross_entropy(x @ weight.T + torch.as_tensor(bias), y, reduction="sum")
    return float(C * loss + 0.5 * weight.square().sum())


def sklearn_fit(x, y, C, solver, tol):
    return LogisticRegression(C=C, solver=solver, tol=tol, max_iter=10_000).fit(x, y)


def sklearn_path(x, y, grid, train, solver, tol, warm):
    model = LogisticRegression(solver=solver, tol=tol, max_iter=10_000, warm_start=warm)
    held = np.setdiff1d(np.arange(len(y)), train, assume_unique=True)
    scores = []
    for C in grid:
        model.set_params(C=C).fit(x[train], y[train])
        p = model.predict_proba(x[held])[np.arange(len(held)), y[held]]
        scores.append(-np.log(p).sum())
    return scores


def sklearn_grid(pool, x, y, grid, folds, solver, tol, warm):
    trains = [np.flatnonzero(folds != fold) for fold in range(folds.max() + 1)]
    scores = pool(delayed(sklearn_path)(x, y, grid, train, solver, tol, warm) for train in trains)
    best = grid[int(np.sum(scores, 0).argmin())]
    return best, sklearn_fit(x, y, best, solver, tol)


def timed(run, *arguments):
    # threads of the other side's libraries still spin for a while, and would take cores from this one
    time.sleep(0.3)
    start = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - start, result


def loosest(x, y, C, solver, lowest):
    """Return scikit-learn's loosest tolerance that comes within 1e-6 of the lowest objective."""
    for tol in TOLERANCES:
        model = sklearn_fit(x.numpy(), y.numpy(), C, solver, tol)
        if objective(x, y, C, model.coef_, model.intercept_) <= lowest * (1 + 1e-6):
            return tol
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer samples and one repeat, for make bench")
    options = parser.parse_args()
    samples, repeats = (1_000, 1) if options.quick else (options.samples, options.repeats)
    warnings.filterwarnings("ignore")
    # train.py does this
    keep_large_blocks()
    x, y = generate(samples)
    X, Y = x.numpy(), y.numpy()
    lowest = objective(x, y, 1.0, *fit_logistic(x, y, 10, 1.0))
    tolerances = {solver: loosest(x, y, 1.0, solver, lowest) for solver in SOLVERS}
    tolerances = {solver: tol for solver, tol in tolerances.items() if tol is not None}
    ours, peers = [], {solver: [] for solver in tolerances}
    for _ in range(repeats):
        # ours runs before each of them: what one leaves behind (heat, caches) must not fall on the same one each time
        for solver, tol in tolerances.items():
            ours.append(timed(fit_logistic, x, y, 10, 1.0)[0])
            peers[solver].append(timed(sklearn_fit, X, Y, 1.0, solver, tol)[0])
    left, medians = statistics.median(ours), {s: statistics.median(times) for s, times in peers.items()}
    best = min(medians, key=medians.get)
    print(f"tolerances within 1e-6: {tolerances}")
    print(f"single fit: ours {left:.4f} s, {', '.join(f'{s} {t:.4f} s' for s, t in medians.items())}")
    single = {"single_ours": round(left, 4), "single_peer": round(medians[best], 4), "single_peer_solver": best}
    single["single_ratio"] = round(medians[best] / left, 2)

    grid, folds = LogisticHead().grid, meta_folds(y, 5, 0)
    settings = [(solver, warm) for solver in tolerances for warm in ((True, False) if solver == "lbfgs" else (False,))]
    ours, peers = [], {setting: [] for setting in settings}
    with Parallel(n_jobs=min(CORES, 5)) as pool:
        sklearn_grid(pool, X[:200], Y[:200], grid[:1], folds[:200].numpy(), "lbfgs", 1e-4, True)
        for _ in range(repeats):
            for solver, warm in settings:
                seconds, (weight, bias, C, _) = timed(fit_logistic_cv, x, y, 10, grid, folds)
                ours.append(seconds)
                print(f"  ours: {seconds:.3f} s, C {C:.4g}, objective {objective(x, y, C, weight, bias):.6f}")
                seconds, (their_C, model) = timed(
                    sklearn_grid, pool, X, Y, grid, folds.numpy(), solver, tolerances[solver], warm
                )
                peers[solver, warm].append(seconds)
                their = objective(x, y, their_C, model.coef_, model.intercept_)
                name = f"{solver}{', warm' if warm else ''}"
                print(f"  {name}: {seconds:.3f} s, C {their_C:.4g}, objective {their:.6f}", flush=True)
    left, medians = statistics.median(ours), {s: statistics.median(times) for s, times in peers.items()}
    best = min(medians, key=medians.get)
    result = {"ours": round(left, 4), "peer": round(medians[best], 4), "unit": "s"}
    result |= {"ratio": round(medians[best] / left, 2), "peer_solver": best[0], "peer_warm_start": best[1]}
    print(json.dumps({**result, **single, "samples": samples, "cores": CORES, "repeats": repeats}))


if __name__ == "__main__":
    main()
