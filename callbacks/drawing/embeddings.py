"""Where the network puts the samples of each class."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing
from callbacks.drawing.projector import write_projector
from records.result_files import write_json

BATCH = 128


class Embeddings(EvaluationDrawing):
    """Draw the penultimate layer in PCA and t-SNE, and how well classes lie apart; takes a while.

    TensorBoard's projector shows the embeddings too. A JSON file beside the figures holds silhouette, Davies-Bouldin,
    Calinski-Harabasz and the spread of each class, all of the embeddings themselves. The embeddings are computed anew.

    Args:
        samples: how many samples of the split at most, drawn at random
        tsne: draw t-SNE
        umap: draw UMAP, which needs the extra `umap`
    """

    subject: ClassVar[str] = "embeddings"
    needs_weights: ClassVar[bool] = True

    def __init__(self, samples: int = 2000, tsne: bool = True, umap: bool = False) -> None:
        if samples < 2:
            raise ValueError(f"embeddings need at least 2 samples, not {samples}")
        if umap and find_spec("umap") is None:
            raise ValueError("UMAP needs the extra umap: pip install 'francesinha[umap]', or leave umap out")
        super().__init__()
        self.samples, self.tsne, self.umap = samples, tsne, umap

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Write the numbers and yield the figures."""
        from figures.embeddings import class_spread, embedding_scatter, explained_variance
        from measures import embeddings as numbers

        count, names, title = len(evaluated.labels), evaluated.class_names, evaluated.title
        rows = np.sort(np.random.default_rng(0).permutation(count)[: self.samples])
        labels, images = evaluated.labels[rows], evaluated.inputs(rows)
        embeddings = compute(evaluated, images)
        projected, shares = numbers.principal_components(embeddings)
        spreads = numbers.class_spreads(embeddings, labels, len(names))
        quality = numbers.cluster_quality(embeddings, labels)
        content = {
            "samples": len(rows),
            "dim": embeddings.shape[1],
            **quality.plain(),
            "explained_variance": shares.tolist(),
            "spread": {n: None if math.isnan(s) else s for n, s in zip(names, spreads.tolist(), strict=True)},
        }
        write_json(evaluated.path("embeddings.json"), content)
        self._project(evaluated, embeddings, labels, images)
        known = "" if quality.silhouette is None else f", silhouette {quality.silhouette:.3f}"
        title = f"{title}, {len(rows):,} embeddings{known}"
        if projected.shape[1] > 1:
            points, axis = projected[:, :2], "principal component"
            yield "embeddings_pca", embedding_scatter(points, labels, names, f"{title}\nPCA", axis)
        yield "embeddings_variance", explained_variance(shares, title)
        yield "embeddings_spread", class_spread(spreads, names, title)
        # fewer have no neighbourhoods
        if self.tsne and len(rows) > 3:
            yield "embeddings_tsne", embedding_scatter(numbers.tsne(projected), labels, names, f"{title}\nt-SNE")
        if self.umap and len(rows) > 3:
            yield "embeddings_umap", embedding_scatter(numbers.umap_points(projected), labels, names, f"{title}\nUMAP")

    def _project(self, evaluated: Evaluated, embeddings: NDArray, labels: NDArray, images: Tensor) -> None:
        # the projector shows thumbnails
        if self.files.tensorboard and evaluated.model.reads == "image":
            names = [evaluated.class_names[label] for label in labels.tolist()]
            run = self.files.events or Path(evaluated.trainer.default_root_dir)
            write_projector(evaluated.path("projector"), run, embeddings, names, images)


@torch.no_grad()
def compute(evaluated: Evaluated, images: Tensor) -> NDArray[np.float32]:
    """Compute the embeddings of uint8 images, float32, shape `(image, dim)`."""
    model, parts = evaluated.model, []
    with evaluated.trainer.precision_plugin.forward_context():
        for batch in images.split(BATCH):
            parts.append(model.features(batch.to(model.device)).float().cpu())
    return torch.cat(parts).numpy()
