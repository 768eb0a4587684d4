"""In which order samples are drawn: by their rows, or by hashes of their content."""

import hashlib

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class ByRow:
    """The draw of earlier versions: random numbers in the order of the samples.

    Args:
        seed: names the draw
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def join(self, unit: Ints) -> None:
        """Take note of which samples are dealt together; `unit` is the first of those of each."""

    def permutation(self, samples: Ints) -> Ints:
        """Return samples, given by index, in the order of the draw."""
        return self.rng.permutation(samples)

    def labels_of(self, labels: Ints, original: Ints) -> Ints:
        """Return the labels that samples are counted under; `original` is the first copy of each."""
        return labels

    def in_turn(self, units: Ints, sizes: Ints) -> Ints:
        """Return the places of units in the order in which they are dealt: large ones first."""
        return np.lexsort((self.rng.permutation(len(units)), -sizes))

    def sides(self, units: Ints, shares: NDArray[np.float64]) -> list[list[int]]:
        """Return the sides that each unit would rather go to than to the one that needs it most, the best first."""
        return [[] for _ in units]

    def turn(self, total: int) -> int:
        """Return by how much the folds that get the odd samples of a class are shifted for the next one."""
        return total


class ByContent:
    """Draws that do not depend on the order of the samples, and that hardly change when some are added.

    Args:
        keys: of each sample: of its content, or its group, int64, shape `(sample,)`
        seed: names the draw
        what: is drawn: draws of different things by one seed have nothing in common
    """

    def __init__(self, keys: Ints, seed: int, what: str) -> None:
        digest = hashlib.blake2b(f"{what} {seed}".encode(), digest_size=8).digest()
        # the finalizer of SplitMix64 (Steele et al. 2014): the keys are hashes already
        mixed = keys.view(np.uint64) ^ np.frombuffer(digest, dtype="<u8")
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        self.hashes = mixed ^ (mixed >> np.uint64(31))

    def join(self, unit: Ints) -> None:
        """See `ByRow`: what is dealt together has the least of its hashes."""
        least = self.hashes.copy()
        np.minimum.at(least, unit, self.hashes)
        self.hashes = least[unit]

    def permutation(self, samples: Ints) -> Ints:
        """See `ByRow`."""
        return samples[np.argsort(self.hashes[samples], kind="stable")]

    def labels_of(self, labels: Ints, original: Ints) -> Ints:
        """See `ByRow`: the least of the copies' labels."""
        least = np.full(len(labels), np.iinfo(np.int64).max)
        np.minimum.at(least, original, labels)
        return np.where(original == np.arange(len(labels)), least[original], labels)

    def in_turn(self, units: Ints, sizes: Ints) -> Ints:
        """See `ByRow`: a unit that grows keeps its place."""
        return np.argsort(self.hashes[units], kind="stable")

    def sides(self, units: Ints, shares: NDArray[np.float64]) -> list[list[int]]:
        """See `ByRow`: each side comes first for its share of the hashes, and the remainder for the last part."""
        order = np.array([*range(1, len(shares)), 0])
        places = [self._places(units, shares[order])]
        # a unit that finds its side full has a second choice of its own, whatever the others do
        mixed = self.hashes[units]
        for _ in order[1:]:
            mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
            places.append(np.searchsorted(np.cumsum(shares[order]), mixed / 2.0**64, side="right"))
        return order[np.stack(places, axis=1).clip(max=len(order) - 1)].tolist()

    def _places(self, units: Ints, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.searchsorted(np.cumsum(shares), self.hashes[units] / 2.0**64, side="right")

    def turn(self, total: int) -> int:
        """See `ByRow`: another number for each class, whatever their sizes."""
        return 1
