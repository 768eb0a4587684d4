"""The numbers of embeddings: principal components, maps to two dimensions, how well classes lie apart."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def principal_components(embeddings: NDArray, count: int = 50) -> tuple[Floats, Floats]:
    """Project embeddings on the directions of their largest variance.

    Args:
        embeddings: shape `(sample, dim)`
        count: components at most

    Returns:
        projections `(sample, component)` and each component's share of the variance `(component,)`; embeddings that are
        all alike have shares of zero
    """
    centred = np.asarray(embeddings, dtype=np.float64)
    centred = centred - centred.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    total = float((scale**2).sum())
    return (left * scale)[:, :count], (scale**2 / (total or 1.0))[:count]


def tsne(embeddings: NDArray, seed: int = 0) -> Floats:
    """Map embeddings to two dimensions by t-SNE (van der Maaten and Hinton 2008), shape `(sample, 2)`."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings)


def umap_points(embeddings: NDArray, seed: int = 0) -> Floats:
    """Map embeddings to two dimensions by UMAP (McInnes et al. 2018), shape `(sample, 2)`.

    Raises:
        ImportError: umap-learn is not installed
    """
    # the extra `umap` installs it; the import takes up to a minute
    from umap import UMAP

    neighbours = min(15, len(embeddings) - 1)
    return UMAP(n_components=2, n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(embeddings)


@dataclass(frozen=True)
class ClusterQuality:
    """How well the classes lie apart; None where it is not defined.

    Args:
        silhouette: in [-1, 1], higher is better (Rousseeuw 1987)
        davies_bouldin: from 0, lower is better (Davies and Bouldin 1979)
        calinski_harabasz: from 0, higher is better (Calinski and Harabasz 1974)
    """

    silhouette: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None

    def plain(self) -> dict[str, float | None]:
        """Return the numbers by name."""
        return asdict(self)


def cluster_quality(embeddings: NDArray, labels: NDArray) -> ClusterQuality:
    """Measure how well classes lie apart, with their labels for clusters.

    Args:
        embeddings: shape `(sample, dim)`
        labels: class of each sample, shape `(sample,)`

    Returns:
        scikit-learn's numbers; they need two classes or more, and fewer than samples
    """
    from sklearn import metrics

    if not 2 <= len(np.unique(labels)) < len(labels):
        return ClusterQuality(None, None, None)
    scores = (metrics.silhouette_score, metrics.davies_bouldin_score, metrics.calinski_harabasz_score)
    values = [float(score(embeddings, labels)) for score in scores]
    return ClusterQuality(*(value if np.isfinite(value) else None for value in values))


def class_spreads(embeddings: NDArray, labels: NDArray, num_classes: int) -> Floats:
    """Compute the mean distance of each class's samples from their mean.

    Args:
        embeddings: shape `(sample, dim)`
        labels: class of each sample, shape `(sample,)`
        num_classes: number of classes

    Returns:
        shape `(class,)`; NaN for a class without samples
    """
    spreads = np.full(num_classes, np.nan)
    for number in np.unique(labels):
        members = np.asarray(embeddings, dtype=np.float64)[labels == number]
        spreads[number] = np.linalg.norm(members - members.mean(0), axis=1).mean()
    return spreads
