"""Coverage and size of prediction sets by simulation: calibrated on new samples many times, and tested on others.

    python benchmarks/conformal.py

Prints one JSON line a case: how often sets hold the true class on average over all draws, and their mean size.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ensembling.heads.fitting import LogisticHead, cross_fit, fit_head
from ensembling.judging.calibration import fit_temperature
from ensembling.judging.held_out_scores import held_out_scores
from measures.conformal import NoSetsError, calibrate, set_rule
from measures.set_options import SetOptions

DRAWS, TESTED, CLASSES = 400, 2000, 10


def members(size: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw logits of members that err together on difficult images, `(sample, member, class)`, and labels."""
    labels = torch.randint(0, CLASSES, (size,), generator=generator)
    shared = torch.randn(size, 1, CLASSES, generator=generator)
    logits = shared + torch.randn(size, count, CLASSES, generator=generator)
    gain = 6 * torch.rand(size, 1, generator=generator)
    logits[torch.arange(size), :, labels] += gain
    return logits, labels


def measured(case: str, covered: list[float], sizes: list[float], **facts: object) -> None:
    """Print a case."""
    mean = sum(covered) / len(covered)
    spread = torch.tensor(covered).std().item() / len(covered) ** 0.5
    numbers = {"coverage": round(mean, 4), "error": round(spread, 4), "mean_size": round(sum(sizes) / len(sizes), 2)}
    print(json.dumps({"case": case, **facts, **numbers}), flush=True)


def plain(held_out: int, options: SetOptions, seed: int) -> None:
    """Calibrate a fixed model's sets."""
    generator = torch.Generator().manual_seed(seed)
    covered, sizes = [], []
    names = [str(number) for number in range(CLASSES)]
    for _ in range(DRAWS):
        (logits, labels), (new, true) = (members(size, 1, generator) for size in (held_out, TESTED))
        inside = set_rule(calibrate(logits[:, 0], labels, "val"), options, names).sets(new[:, 0])
        covered.append(inside.gather(1, true[:, None]).double().mean().item())
        sizes.append(inside.sum(1).double().mean().item())
    facts = {"method": options.method, "by": options.by, "wanted": options.coverage, "held_out": held_out}
    measured("fixed model", covered, sizes, **facts)


def best_epoch(held_out: int, epochs: int, seed: int) -> None:
    """Calibrate on the samples that chose the best of equally good epochs."""
    generator = torch.Generator().manual_seed(seed)
    covered, sizes = [], []
    names = [str(number) for number in range(CLASSES)]
    for _ in range(DRAWS):
        (logits, labels), (new, true) = (members(size, epochs, generator) for size in (held_out, TESTED))
        best = int((logits.argmax(2) == labels[:, None]).double().mean(0).argmax())
        inside = set_rule(calibrate(logits[:, best], labels, "val"), SetOptions(), names).sets(new[:, best])
        covered.append(inside.gather(1, true[:, None]).double().mean().item())
        sizes.append(inside.sum(1).double().mean().item())
    measured(f"best of {epochs} epochs, chosen on the same samples", covered, sizes, wanted=0.9, held_out=held_out)


def stack(held_out: int, draws: int, seed: int) -> None:
    """Cross-fit a logistic head and its temperature, as `stack` does, and test the head of all samples."""
    generator = torch.Generator().manual_seed(seed)
    names = [str(number) for number in range(CLASSES)]
    covered: dict[str, list[float]] = {"cross-fitted": [], "fitted on the same samples": []}
    sizes: dict[str, list[float]] = {"cross-fitted": [], "fitted on the same samples": []}
    for number in range(draws):
        (logits, labels), (new, true) = (members(size, 3, generator) for size in (held_out, TESTED))
        head = LogisticHead(C=1.0)
        pooled = cross_fit(head, logits, labels, CLASSES, seed=number)
        module = fit_head(head, logits, labels, CLASSES, number)
        temperature = fit_temperature(pooled, labels)
        with torch.no_grad():
            tested, seen = module(new) / temperature, module(logits) / temperature
        ways = {
            "cross-fitted": held_out_scores(pooled, labels, True, number),
            "fitted on the same samples": calibrate(seen, labels, "val"),
        }
        for way, calibration in ways.items():
            try:
                inside = set_rule(calibration, SetOptions(), names).sets(tested)
            except NoSetsError as reason:
                raise SystemExit(str(reason)) from None
            covered[way].append(inside.gather(1, true[:, None]).double().mean().item())
            sizes[way].append(inside.sum(1).double().mean().item())
    for way, found in covered.items():
        measured(f"logistic head and temperature, {way}", found, sizes[way], wanted=0.9, held_out=held_out)


if __name__ == "__main__":
    for seed, held_out in enumerate((100, 287, 1000)):
        for method in ("raps", "aps", "lac"):
            plain(held_out, SetOptions(method=method), seed)
    plain(1000, SetOptions(by="class"), 4)
    plain(1000, SetOptions(coverage=0.95), 5)
    best_epoch(287, 30, 6)
    stack(287, 100, 7)
    stack(1000, 60, 8)
