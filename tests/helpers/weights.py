"""Files of weights, made for tests."""

import torch

from tests.helpers.data import random_images


def randomised(network, seed=0):
    """Weights and statistics that differ from layer to layer, as those of a trained network do."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(tensor + 0.1 * noise if tensor.ndim > 1 else 0.5 + noise if "bias" not in name else noise)
    return network.eval()


def save(content, folder, name="weights.pth"):
    torch.save(content, folder / name)
    return str(folder / name)


def embeddings(model, size=64, channels=3):
    images = random_images(2, channels, size)
    with torch.no_grad():
        return model.eval().preprocessing(images), model.features(images)


def report(caplog):
    # the last two: a file without checksums has a line before
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith("weights: ")][-2:]


def timm_resnet(**options):
    import timm

    return randomised(timm.create_model("resnet18", num_classes=2, **options)).state_dict()


MLP_TENSORS = {"1.weight": torch.ones(2, 2), "1.bias": torch.ones(2)}
