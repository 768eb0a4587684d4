import builtins

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ensembling.heads.fitting import LogisticHead, MeanHead, fit_head
from ensembling.logits import to_features
from pipelines.export.sklearn import export_sklearn
from tests.helpers.meta import meta_samples


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("features", ["logits", "probabilities"])
def test_export_sklearn__predicts_as_the_head_does(tmp_path, num_classes, features):
    from skops.io import load

    logits, labels = meta_samples(num_classes=num_classes)
    module = fit_head(LogisticHead(C=2.0, features=features), logits, labels, num_classes)
    export_sklearn(module, tmp_path / "head.skops")
    model = load(tmp_path / "head.skops", trusted=[])
    x = to_features(logits.double(), features).numpy()
    ours = module.double()(logits).softmax(1).detach().numpy()
    assert np.abs(model.predict_proba(x) - ours).max() < 1e-6
    assert model.score(x, labels.numpy()) == (ours.argmax(1) == labels.numpy()).mean()
    # a fit with the same parameters is the same model
    again = LogisticRegression(C=model.get_params()["C"], tol=1e-10, max_iter=10_000).fit(x, labels.numpy())
    assert np.abs(again.predict_proba(x) - ours).max() < 1e-4
    assert model.n_features_in_ == x.shape[1]


def test_export_sklearn__of_another_head_is_refused(tmp_path):
    with pytest.raises(TypeError, match="only a logistic head"):
        export_sklearn(MeanHead().build(2, 3), tmp_path / "head.skops")


def test_export_sklearn__names_the_extra(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_skops(name, *arguments, **options):
        if name.startswith("skops"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_skops)
    with pytest.raises(ImportError, match=r"francesinha\[skops\]"):
        export_sklearn(LogisticHead().build(2, 3), tmp_path / "head.skops")
