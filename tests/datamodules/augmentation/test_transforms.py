import pytest
import torch
from torchvision.transforms import v2

from datamodules.augmentation.transforms import (
    STEPS,
    _cut_each,
    _cut_together,
    augment,
    check_steps,
    crop_and_resize,
    random_boxes,
    random_crop,
    random_cutout,
    random_flip,
    random_quarter_turns,
    random_resized_crop,
    random_vertical_flip,
)
from tests.helpers.data import random_images


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_crop__each_image_is_a_window_of_its_padded_self():
    images = random_images(64, 2, 6)
    cropped = random_crop(images, 2, generator=generator())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    shifts = set()
    for before, after in zip(padded, cropped, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 6, x : x + 6], after)]
        assert fits
        shifts.add(fits[0])
    # randomness of its own for every sample
    assert len(shifts) > 10


def test_random_crop__shifts_are_uniform():
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[0, 0, 2, 2] = 1
    cropped = random_crop(image.expand(20_000, 1, 5, 5), 2, generator=generator())
    places = cropped.flatten(1).argmax(1).bincount(minlength=25)
    assert (places - 800).abs().max() < 150


def test_random_crop__mirrors_about_half():
    images = random_images(1000, 2, 4)
    flipped = random_crop(images, 0, flip=True, generator=generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 420 < int(mirrored.sum()) < 580


def test_random_crop__mirrors_the_window_it_cut():
    images = random_images(64, 1, 6)
    with_flip = random_crop(images, 2, flip=True, generator=generator())
    without = random_crop(images, 2, generator=generator())
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(with_flip, without, strict=True))


def test_random_cutout__blanks_one_square_at_most():
    images = torch.full((500, 3, 8, 8), 9, dtype=torch.uint8)
    cut = random_cutout(images, 4, generator())
    holes = (cut == 0).all(1)
    assert ((cut == 0).any(1) == holes).all()
    sizes = holes.flatten(1).sum(1)
    assert sizes.max() == 16
    assert sizes.min() >= 4
    # a hole is a rectangle: rows times columns
    assert torch.equal(sizes, holes.any(1).sum(1) * holes.any(2).sum(1))


def test_random_crop__draws_as_torchvision_does():
    # a bright pixel whose place tells shift and flip apart
    image = torch.zeros(1, 1, 11, 11, dtype=torch.uint8)
    image[0, 0, 5, 2] = 255
    count = 6000
    ours = random_crop(image.expand(count, 1, 11, 11), 2, flip=True, generator=generator())
    torch.manual_seed(0)
    transform = v2.Compose([v2.RandomCrop(11, padding=2), v2.RandomHorizontalFlip()])
    theirs = torch.cat([transform(image) for _ in range(count)])
    left, right = (x.flatten(1).argmax(1).bincount(minlength=121).double() for x in (ours, theirs))
    both = left + right
    seen = both > 0
    assert int(seen.sum()) == 50
    chi_square = ((left - right)[seen] ** 2 / both[seen]).sum()
    # 49 degrees of freedom: above 85 once in a thousand
    assert chi_square < 85


def test_random_boxes__draws_as_torchvision_does():
    count = 4000
    ours = random_boxes(count, (40, 60), (0.08, 1.0), (3 / 4, 4 / 3), generator()).double()
    torch.manual_seed(0)
    image = torch.zeros(1, 40, 60)
    transform = v2.RandomResizedCrop(8)
    theirs = [transform.make_params([image]) for _ in range(count)]
    theirs = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in theirs]).double().T
    for a, b in ((ours, theirs), (ours[2:3] * ours[3:4], theirs[2:3] * theirs[3:4])):
        for x, y in zip(a, b, strict=True):
            # Kolmogorov and Smirnov's distance: above .044 once in a thousand
            values = torch.cat([x, y]).unique()
            apart = [torch.searchsorted(v.sort().values, values, right=True) / count for v in (x, y)]
            assert (apart[0] - apart[1]).abs().max() < 0.044
    assert (ours[0] + ours[2] <= 40).all()
    assert (ours[1] + ours[3] <= 60).all()


def test_random_boxes__the_whole_image_where_no_box_fits():
    boxes = random_boxes(5, (2, 50), (1.0, 1.0), (3 / 4, 4 / 3), generator())
    assert boxes.T.tolist() == [[0, 0, 2, 50]] * 5


@pytest.mark.parametrize("cut", [_cut_each, _cut_together])
def test_crop_and_resize__matches_torchvision(cut):
    images = random_images(6, 3, 20)
    boxes = random_boxes(6, (20, 20), (0.1, 1.0), (0.5, 2.0), generator())
    mirrored = torch.tensor([False, True] * 3)
    ours = cut(images, boxes, mirrored).int()
    theirs = [v2.functional.resized_crop(i, *b, [20, 20]) for i, b in zip(images, boxes.T.tolist(), strict=True)]
    theirs = torch.stack([i.flip(-1) if mirror else i for i, mirror in zip(theirs, mirrored, strict=True)])
    assert (ours - theirs.int()).abs().max() <= 1
    assert torch.equal(crop_and_resize(images, boxes, mirrored), _cut_each(images, boxes, mirrored))


def test_random_resized_crop__each_image_gets_its_own():
    images = random_images(1, 3, 16).expand(10, 3, 16, 16)
    cut = random_resized_crop(images, generator=generator())
    assert len({tuple(image.flatten().tolist()) for image in cut}) == 10


def test_random_resized_crop__mirrors_about_half():
    images = random_images(400, 1, 8)
    cut, plain = (random_resized_crop(images, (1, 1), (1, 1), flip, generator()) for flip in (True, False))
    mirrored = (cut == plain.flip(-1)).flatten(1).all(1)
    assert ((cut == plain).flatten(1).all(1) | mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_random_flip__mirrors_about_half():
    images = random_images(400, 1, 4)
    flipped = random_flip(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) | mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_random_vertical_flip__turns_about_half_upside_down():
    images = random_images(400, 1, 4)
    flipped = random_vertical_flip(images, generator())
    mirrored = (flipped == v2.functional.vertical_flip(images)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) | mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_random_quarter_turns__each_image_is_one_of_torchs_four_and_all_come_equally_often():
    images = random_images(800, 3, 5)
    turned = random_quarter_turns(images, generator())
    same = torch.stack([(turned == images.rot90(k, (-2, -1))).flatten(1).all(1) for k in range(4)])
    assert (same.sum(0) == 1).all()
    assert ((same.sum(1) > 150) & (same.sum(1) < 250)).all()


def test_random_quarter_turns__images_that_are_not_square():
    with pytest.raises(ValueError, match="square images, not 4x6: set --data.image_size"):
        random_quarter_turns(torch.zeros(2, 1, 4, 6, dtype=torch.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_augment__each_step_keeps_shape_and_type(step, channels):
    images = random_images(8, channels, 16)
    augmented = augment(images, [step], generator())
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    assert not torch.equal(augmented, images)
    assert torch.equal(augmented, augment(images, [step], generator()))


def test_augment__no_step_changes_nothing():
    images = random_images(2, 3, 8)
    assert augment(images, []) is images


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (("crop", "resized_crop"), "both 'crop' and 'resized_crop'"),
        (("rand", "flip", "trivial"), "both 'trivial' and 'rand'"),
        (("flip", "flip"), "'flip' more than once"),
    ],
)
def test_check_steps__what_does_not_go_together_is_named(steps, message):
    with pytest.raises(ValueError, match=message):
        check_steps("--data.augmentation", steps)
