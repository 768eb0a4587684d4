"""The logistic head as a scikit-learn model, without pickle."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ensembling.heads.networks import Logistic


def to_sklearn(module: nn.Module) -> Any:
    """Return a fitted scikit-learn LogisticRegression with a head's coefficients.

    Its inputs are the module's features (`ensembling.logits.to_features` of the members' logits), shape
    `(sample, member * class)`. Its probabilities are the head's own: those of a stack are divided by a temperature.

    Args:
        module: of a LogisticHead

    Raises:
        TypeError: the module of another head
        ValueError: fewer than 2 classes
    """
    from sklearn.linear_model import LogisticRegression

    if not isinstance(module, Logistic):
        raise TypeError(f"only a logistic head can be exported to scikit-learn, not a {type(module).__name__}")
    weight = module.weight.detach().cpu().double().numpy()
    bias = module.bias.detach().cpu().double().numpy()
    classes = len(bias)
    if classes < 2:
        raise ValueError("scikit-learn needs at least 2 classes")
    # one vector of weights for two classes, whose penalty is half of that on two
    strength = float(module.C) * (2 if classes == 2 else 1)
    # heads of earlier checkpoints do not know it
    model = LogisticRegression(C=strength) if strength else LogisticRegression()
    # for two classes, scikit-learn holds only the second's logit, relative to the first's
    model.coef_ = weight if classes > 2 else weight[1:] - weight[:1]
    model.intercept_ = bias if classes > 2 else bias[1:] - bias[:1]
    model.classes_ = np.arange(classes)
    model.n_features_in_ = weight.shape[1]
    model.n_iter_ = np.array([1], dtype=np.int32)
    return model


def export_sklearn(module: nn.Module, path: str | Path) -> None:
    """Save a logistic head as a scikit-learn LogisticRegression in skops' format.

    `skops.io.load(path, trusted=[])` reads it: it holds nothing but scikit-learn's and numpy's own types. Its inputs
    are those of `to_sklearn`.

    Args:
        module: of a LogisticHead
        path: file to write; one that exists is replaced

    Raises:
        ImportError: skops is not installed
        TypeError: the module of another head
    """
    try:
        from skops.io import dump
    except ImportError as error:
        raise ImportError(
            "the export to scikit-learn needs skops: install it with pip install 'francesinha[skops]'"
        ) from error
    dump(to_sklearn(module), Path(path))
