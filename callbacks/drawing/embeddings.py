"""Where the network puts the samples of each class."""

import math
import shutil
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing
from records.result_files import write_json

BATCH = 128
# TensorBoard takes one image with all thumbnails, of at most this size
SPRITE, THUMBNAIL = 8192, 48


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
        labels, images = evaluated.labels[rows], evaluated.images(rows)
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
        if not self.files.tensorboard:
            return
        # slow to import
        from torch.utils.tensorboard import SummaryWriter

        # it would add to what an earlier test wrote
        folder = evaluated.path("projector")
        shutil.rmtree(folder, ignore_errors=True)
        side = min(THUMBNAIL, SPRITE // math.ceil(math.sqrt(len(images))), max(images.shape[-2:]))
        thumbnails = images.float() / 255
        if thumbnails.shape[-2:] != (side, side):
            thumbnails = torch.nn.functional.interpolate(thumbnails, (side, side), mode="bilinear", antialias=True)
        # it wants colours
        thumbnails = thumbnails.expand(-1, 3, -1, -1) if thumbnails.shape[1] == 1 else thumbnails
        # a name is a cell of a table to it
        names = [" ".join(evaluated.class_names[label].split()) for label in labels.tolist()]
        with SummaryWriter(str(folder)) as writer:
            writer.add_embedding(torch.from_numpy(embeddings), names, thumbnails.clamp(0, 1), tag="embeddings")


@torch.no_grad()
def compute(evaluated: Evaluated, images: Tensor) -> NDArray[np.float32]:
    """Compute the embeddings of uint8 images, float32, shape `(image, dim)`."""
    model, parts = evaluated.model, []
    with evaluated.trainer.precision_plugin.forward_context():
        for batch in images.split(BATCH):
            parts.append(model.features(batch.to(model.device)).float().cpu())
    return torch.cat(parts).numpy()
