"""Three MLPs of one shape trained as one batched network against one after the other: seconds for the same steps.

Ours multiplies the members' weights as one batch of matrices, normalises them in one BatchNorm and steps one optimizer;
the peer trains each member by itself, as `python train.py stack` does. Both take the same batches from memory, so that
nothing but the arithmetic is compared. Members are independent in both.
"""

import argparse
import json
import statistics
import time
from itertools import pairwise

import torch
from torch import nn

WIDTHS = (784, 256, 128, 10)


class Together(nn.Module):
    """MLPs of one shape side by side, from `(member, batch, pixel)` to `(member, batch, class)`."""

    def __init__(self, members):
        super().__init__()
        shapes = list(pairwise(WIDTHS))
        self.weights = nn.ParameterList([torch.randn(members, *shape) / shape[0] ** 0.5 for shape in shapes])
        self.biases = nn.ParameterList([torch.zeros(members, 1, shape[1]) for shape in shapes])
        self.norms = nn.ModuleList([nn.BatchNorm1d(members * width) for width in WIDTHS[1:-1]])

    def forward(self, x):
        for weight, bias, norm in zip(self.weights, self.biases, [*self.norms, None], strict=True):
            x = torch.baddbmm(bias, x, weight)
            if norm is not None:
                members, batch, _ = x.shape
                x = norm(x.permute(1, 0, 2).reshape(batch, -1)).relu()
                x = x.view(batch, members, -1).permute(1, 0, 2)
        return x


def single():
    layers = []
    for width, following in pairwise(WIDTHS):
        layers += [nn.Linear(width, following), nn.BatchNorm1d(following), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


def train(network, images, labels, steps):
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001, fused=True)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        logits = network(images).flatten(0, -2)
        # the sum over members of each one's mean
        loss = nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum") / labels.shape[-1]
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--quick", action="store_true", help="few steps, for make bench")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.steps = 2, 20
    results = {}
    for batch in (32, 128, 512):
        images, labels = torch.randn(options.members, batch, WIDTHS[0]), torch.randint(0, 10, (options.members, batch))
        ours, peer = [], []
        for _ in range(options.repeats):
            peer.append(sum(train(single(), images[0], labels[0], options.steps) for _ in range(options.members)))
            ours.append(train(Together(options.members), images, labels, options.steps))
        pairs = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
        results[batch] = {"ours": statistics.median(ours), "peer": statistics.median(peer)}
        results[batch]["ratio"] = round(statistics.median(pairs), 2)
        print(f"batch {batch}: together {statistics.median(ours):.2f} s, apart {statistics.median(peer):.2f} s")
    print(json.dumps({**results[128], "unit": "s", "members": options.members, "all": results}))


if __name__ == "__main__":
    main()
