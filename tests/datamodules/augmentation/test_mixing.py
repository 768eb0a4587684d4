import numpy as np
import pytest
import torch

from datamodules.augmentation.mixing import inside, mix, rectangles
from lightning_modules.training.losses import CrossEntropy
from tests.helpers.data import Blobs


def solid(count=200, size=16):
    """Image number n is all n, of class n % 4."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size).contiguous()
    return images, torch.arange(count) % 4


def mixed(mixup=0.0, cutmix=0.0, seed=0, **options):
    images, labels = solid(**options)
    return images, labels, *mix(images, labels, 4, mixup, cutmix, np.random.default_rng(seed))


def test_mixup__blends_by_the_share_of_the_target():
    images, labels, blended, targets = mixed(mixup=1.0)
    assert blended.dtype == torch.uint8
    own = targets.gather(1, labels[:, None])[:, 0]
    others = targets.scatter(1, labels[:, None], 0.0)
    for number in range(len(images)):
        values = blended[number].unique()
        assert len(values) == 1
        if others[number].max() > 0:
            # value = own * number + (1 - own) * partner, for a partner of the target's other class
            partner = (values.item() - own[number].item() * number) / (1 - own[number].item())
            slack = 0.5 / (1 - own[number].item()) + 0.01
            candidates = torch.arange(200)[torch.arange(200) % 4 == others[number].argmax()]
            assert (candidates - partner).abs().min() <= slack


def test_cutmix__pastes_the_area_that_the_target_says():
    _, labels, pasted, targets = mixed(cutmix=1.0)
    for number in range(200):
        area = (pasted[number, 0] != number).float().mean()
        other = pasted[number, 0][pasted[number, 0] != number]
        assert len(other.unique()) <= 1
        expected = torch.zeros(4)
        expected[labels[number]] += 1 - area
        if len(other):
            expected[other[0].long() % 4] += area
        assert torch.allclose(targets[number], expected, atol=1e-6)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mix__targets_are_probabilities_and_the_label_is_the_largest_share(mixup, cutmix):
    _, labels, _, targets = mixed(mixup, cutmix)
    assert torch.allclose(targets.sum(1), torch.ones(200))
    assert (targets.gather(1, labels[:, None])[:, 0] >= 0.5).all()
    assert (targets.max(1).values < 0.999).any()


def test_mix__both_are_drawn_for_each_image():
    images, _, result, _ = mixed(mixup=1.0, cutmix=1.0)
    pieces = torch.tensor([len(image.unique()) for image in result])
    own = torch.tensor([(image == before).any() for image, before in zip(result, images, strict=True)])
    pasted = (pieces == 2) & own
    blended = (pieces == 1) & ~own
    assert 0.2 < pasted.float().mean() < 0.7
    assert 0.2 < blended.float().mean() < 0.7


def test_mix__each_image_has_a_share_of_its_own():
    _, labels, _, targets = mixed(mixup=1.0)
    assert len(targets.gather(1, labels[:, None]).unique()) > 100


def test_mix__is_named_by_its_seed():
    assert torch.equal(mixed(1.0, 1.0, seed=3)[2], mixed(1.0, 1.0, seed=3)[2])
    assert not torch.equal(mixed(1.0, 1.0, seed=3)[2], mixed(1.0, 1.0, seed=4)[2])


def test_mix__leaves_the_batch_as_it_was():
    images, _, result, _ = mixed(1.0, 1.0)
    assert torch.equal(images, solid()[0])
    assert not torch.equal(result, images)


def pixels(areas, height, width, rng):
    edges = torch.from_numpy(rectangles(areas, height, width, rng))
    return inside(edges, height, width)[:, 0].numpy()


def test_rectangles__cover_the_area_asked_for_where_no_border_cuts():
    found = pixels(np.full(500, 0.25), 32, 64, np.random.default_rng(0))
    whole = ~(found[:, [0, -1]].any((1, 2)) | found[:, :, [0, -1]].any((1, 2)))
    assert whole.sum() > 20
    assert np.allclose(found[whole].mean((1, 2)), 0.25, atol=0.01)


def test_mixing__does_not_change_the_size_of_the_gradient_of_a_weighted_loss():
    # if weights average to one over the samples, the loss of mixed targets is that of plain ones on average
    labels = torch.cat([torch.zeros(900), torch.ones(100)]).long()
    criterion = CrossEntropy(class_weights="inverse").build([900, 100])
    _, targets = mix(torch.zeros(1000, 1, 2, 2, dtype=torch.uint8), labels, 2, 1.0, 0.0, np.random.default_rng(0))
    logits = torch.zeros(1000, 2)
    assert criterion(logits, targets).item() == pytest.approx(criterion(logits, labels).item(), rel=0.02)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_data_module__impossible_alpha(name):
    with pytest.raises(ValueError, match=f"--data.{name} must be at least 0"):
        Blobs(**{name: -1.0})


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 8), (7, 13), (2, 2), (1, 5), (224, 224)])
def test_rectangles__cover_no_more_than_asked_by_rounding(height, width):
    areas = np.r_[np.full(300, 0.5), np.linspace(0, 0.5, 300)]
    covered = pixels(areas, height, width, np.random.default_rng(0)).mean((1, 2))
    assert covered.max() <= 0.5


def test_rectangles__cover_what_was_asked_on_average_inside_a_large_image():
    rng = np.random.default_rng(0)
    # a small one is seldom cut off by the border
    assert pixels(np.full(4000, 0.01), 200, 200, rng).mean() == pytest.approx(0.01, rel=0.1)
