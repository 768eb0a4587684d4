import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA

from measures import embeddings as numbers


def groups(samples=60, dim=6, classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    return rng.normal(size=(samples, dim)) + 4 * rng.normal(size=(classes, dim))[labels], labels


def test_principal_components__equal_scikit_learns():
    embeddings, _ = groups()
    projected, shares = numbers.principal_components(embeddings, 4)
    pca = PCA(4).fit(embeddings)
    assert np.allclose(shares, pca.explained_variance_ratio_)
    assert np.allclose(np.abs(projected), np.abs(pca.transform(embeddings)))


def test_principal_components__of_embeddings_that_are_alike():
    projected, shares = numbers.principal_components(np.ones((5, 3)))
    assert not projected.any()
    assert not shares.any()


def test_cluster_quality__is_scikit_learns():
    embeddings, labels = groups()
    quality = numbers.cluster_quality(embeddings, labels)
    assert quality.silhouette == metrics.silhouette_score(embeddings, labels)
    assert quality.davies_bouldin == metrics.davies_bouldin_score(embeddings, labels)
    assert quality.calinski_harabasz == metrics.calinski_harabasz_score(embeddings, labels)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_cluster_quality__is_not_defined(labels):
    quality = numbers.cluster_quality(np.random.default_rng(0).normal(size=(3, 2)), np.array(labels))
    assert set(quality.plain().values()) == {None}


def test_class_spreads__mean_distance_from_the_mean():
    embeddings = np.array([[0.0, 0], [6, 8], [1, 1]])
    spreads = numbers.class_spreads(embeddings, np.array([0, 0, 2]), 3)
    assert spreads[[0, 2]].tolist() == [5, 0]
    assert np.isnan(spreads[1])


def test_tsne__keeps_groups_together():
    embeddings, labels = groups(samples=45)
    points = numbers.tsne(embeddings)
    assert points.shape == (45, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(45)
    assert (labels[distances.argmin(1)] == labels).mean() > 0.9
