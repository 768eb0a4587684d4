"""What holds for every family of models."""

import torch

from tests.helpers.data import Blobs, data_info, random_images
from tests.helpers.training import fit, trainer


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def build(model_class, channels=3, size=32, **options):
    return model_class(data_info=data_info(channels, size), **options)


def check_family(model_class, tmp_path, size=32, **options):
    """Fit, load again, test and predict on grey images; embeddings and logits have their shapes."""
    from lightning_modules.checkpoints import load_classifier

    data = Blobs(count=24, batch_size=8, size=size)
    model = model_class(data_info=data.info, **options)
    path = fit(model, data, tmp_path, max_epochs=1, limit_train_batches=2)
    loaded = load_classifier(path)
    images = random_images(3, 1, size)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), loaded(images))
        features = loaded.features(images)
        assert features.ndim == 2
        assert loaded.head(features).shape == (3, 3)
    testing = trainer(tmp_path)
    testing.test(loaded, datamodule=data, verbose=False)
    tested = loaded.predictions["logits"]
    testing.predict(loaded, datamodule=data)
    assert torch.equal(loaded.predictions["logits"], tested)
