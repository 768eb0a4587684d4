"""Leaks of every kind, planted between a base's data and a stack's, are caught or told; honest pairs pass."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from datamodules import Digits, ImageFolder, Manifest, Npz
from datamodules.provenance import Provenance
from ensembling.leakage import LeakageError, find_leakage, refuse_leakage
from lightning_modules import MLP
from lightning_modules.checkpoints import read_base
from tests.helpers.training import trainer

CLASSES = ("cat", "dog", "eel")
SPLIT = {"val_fraction": 0.2, "stack_fraction": 0.3}
SIDE, COUNT = 64, 60


def photos(seed, count=COUNT):
    """Smooth pictures, as photos are; no two alike, of classes in turn."""
    rng = np.random.default_rng(seed)
    small = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(count)]
    smooth = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in small]
    return [np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for image in smooth]


def save(image, path):
    image.save(path.with_suffix(".png"))


def write(root, pictures, save=save, prefix=""):
    """Write class folders of training images, and of a few others for the test."""
    for split, images in (("train", pictures), ("test", photos(99, 3))):
        for number, picture in enumerate(images):
            folder = root / split / CLASSES[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            save(Image.fromarray(picture), folder / f"{prefix}{number:03d}")
    return root


def folder(root, **options):
    return ImageFolder(**{"root": str(root), "num_workers": 0, **SPLIT, **options})


def write_npz(path, pictures):
    labels = np.arange(len(pictures)) % 3
    test = np.stack(photos(99, 3))
    np.savez(path, x_train=np.stack(pictures), y_train=labels, x_test=test, y_test=np.arange(3))
    return path


def npz(path, **options):
    return Npz(**{"path": str(path), **SPLIT, **options})


def manifest(root, groups, **options):
    """A manifest of images that are there, with or without a column of groups."""
    names = sorted(path.relative_to(root).as_posix() for path in (root / "train").rglob("*.*"))
    with (root / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"][: 3 if groups else 2])
        for number, name in enumerate(names):
            rows.writerow([name, name.split("/")[1], *([groups(number)] if groups else [])])
    return Manifest(path=str(root / "manifest.csv"), num_workers=0, **SPLIT, **options)


def judged(base, stack, train_on="stack"):
    """Compare a stack's samples with what a base would record; return the overlaps."""
    record = Provenance.from_plain(base.provenance.plain()) if hasattr(base, "provenance") else base
    return find_leakage(stack.splits[train_on], stack.splits["val"], {"base": record})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "images", photos(0))


@pytest.fixture(scope="module")
def base(root):
    """The data that a base is fitted on honestly: beside a stack split."""
    return folder(root)


# the same picture, saved anew: every image of the stack's data, which is split otherwise, is one of the base's


def with_metadata(image, path):
    info = PngInfo()
    info.add_text("title", path.stem)
    image.save(path.with_suffix(".png"), pnginfo=info)


def with_a_trailing_byte(image, path):
    image.save(path.with_suffix(".png"))
    with path.with_suffix(".png").open("ab") as file:
        file.write(b"\0")


def turned(image, path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".png"), exif=exif)


SAME = {
    "bytes": save,
    "bmp": lambda image, path: image.save(path.with_suffix(".bmp")),
    "tiff": lambda image, path: image.save(path.with_suffix(".tiff"), compression="tiff_deflate"),
    "webp": lambda image, path: image.save(path.with_suffix(".webp"), lossless=True),
    "ppm": lambda image, path: image.save(path.with_suffix(".ppm")),
    "other compression": lambda image, path: image.save(path.with_suffix(".png"), compress_level=1),
    "metadata": with_metadata,
    "trailing byte": with_a_trailing_byte,
    "opaque alpha": lambda image, path: image.convert("RGBA").save(path.with_suffix(".png")),
    "EXIF turn": turned,
    "palette suffix": lambda image, path: image.save(path.with_suffix(".jpg"), format="PNG"),
}


@pytest.mark.parametrize("way", SAME)
def test_leak__of_a_picture_saved_anew_is_refused(tmp_path, base, way):
    # names of another order, so that other images are held out
    found = judged(base, folder(write(tmp_path / "anew", photos(0)[::-1], SAME[way], "x"), split_seed=5))
    assert found.fitted == {"base": 5}
    with pytest.raises(LeakageError, match="base was fitted on"):
        refuse_leakage(found, allow=False)


def test_leak__between_files_and_arrays_is_refused(tmp_path, base):
    stack = npz(write_npz(tmp_path / "a.npz", photos(0)[::-1]), split_seed=5)
    assert judged(base, stack).problems()
    assert judged(stack, folder(base.root, split_seed=9)).problems()


def test_leak__between_grey_files_and_colour_copies_is_refused(tmp_path):
    grey = [np.asarray(Image.fromarray(picture).convert("L")) for picture in photos(1)]
    seen = folder(write(tmp_path / "grey", grey))
    colours = [np.repeat(picture[..., None], 3, 2) for picture in grey]
    assert judged(seen, folder(write(tmp_path / "colour", colours[::-1], SAME["bmp"]), split_seed=5)).problems()
    assert judged(seen, npz(write_npz(tmp_path / "a.npz", colours), split_seed=5)).problems()


# nearly the same picture


def one_pixel(image):
    image = image.copy()
    image.putpixel((9, 9), tuple(255 - value for value in image.getpixel((9, 9))))
    return image


def jpeg(quality):
    return lambda image, path: image.save(path.with_suffix(".jpg"), quality=quality)


NEAR = {
    "one pixel": lambda image, path: save(one_pixel(image), path),
    "mirrored": lambda image, path: save(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), path),
    "upside down": lambda image, path: save(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), path),
    "smaller": lambda image, path: save(image.resize((48, 48)), path),
    "larger": lambda image, path: save(image.resize((100, 100)), path),
    "JPEG 95": jpeg(95),
    "JPEG 50": jpeg(50),
    "cropped": lambda image, path: save(image.crop((1, 1, SIDE, SIDE)), path),
    "grey": lambda image, path: save(image.convert("L"), path),
}


@pytest.mark.parametrize("way", NEAR)
def test_leak__of_a_near_copy_is_told_and_refused_by_option(tmp_path, base, way):
    found = judged(base, folder(write(tmp_path / "near", photos(0)[::-1], NEAR[way]), split_seed=5))
    assert not found.problems()
    assert found.near["base"] >= 5
    assert any("probably copies: train/" in sentence for sentence in found.warnings())
    with pytest.raises(LeakageError, match="probably copies"):
        refuse_leakage(found, allow=False, near=True)


def test_leak__of_one_near_copy_among_other_images_is_told(tmp_path, root, base):
    # drawn by rows, so that the copy takes the place of an image that is held out
    place = folder(write(tmp_path / "other", photos(7)), split_version=1).splits["stack"].sample_names()[3]
    seen = root / base.splits["train"].sample_names()[0]
    one_pixel(Image.open(seen).convert("RGB")).save(tmp_path / "other" / place)
    found = judged(base, folder(tmp_path / "other", split_version=1))
    assert (found.near, found.examples) == ({"base": 1}, {"base": [place]})


# other splits of the same images


@pytest.mark.parametrize("options", [{"split_seed": 3}, {"val_fraction": 0.4}, {"stack_fraction": 0.6}])
def test_leak__of_another_split_is_refused(root, base, options):
    assert judged(base, folder(root, **options)).problems()


def test_leak__of_another_fold_is_refused(root):
    folds = {"stack_fraction": 0.0, "num_folds": 4, "held_out": "stack"}
    assert judged(folder(root, fold=1, **folds), folder(root, fold=2, **folds)).problems()


def test_leak__of_the_whole_data_and_of_the_training_split_is_refused(root, base):
    assert judged(folder(root, stack_fraction=0.0), folder(root)).problems()
    assert judged(base, base, "train").problems()


def test_leak__of_what_chose_or_calibrated_a_base_is_told(base):
    assert judged(base, base, "val").warnings() == ["base was selected on 12 meta-training samples"]
    record = Provenance.of_samples([base.splits["train"]], calibrated=[base.splits["stack"]])
    assert "was calibrated on" in judged(record, base).warnings()[0]


# weights


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    """A checkpoint of a base that was fitted on all training images."""
    data, path = folder(root, stack_fraction=0.0), tmp_path_factory.mktemp("base")
    fitting = trainer(path, max_epochs=0, enable_checkpointing=False)
    fitting.fit(MLP(data_info=data.info, hidden=[4]), datamodule=data)
    fitting.save_checkpoint(path / "base.ckpt")
    return path / "base.ckpt"


def backbone(checkpoint):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def as_safetensors(checkpoint, folder):
    save_file(backbone(checkpoint), folder / "w.safetensors")
    return folder / "w.safetensors"


def as_state_dict(checkpoint, folder):
    torch.save(backbone(checkpoint), folder / "w.pt")
    return folder / "w.pt"


def without_record(checkpoint, folder):
    saved = torch.load(checkpoint, weights_only=True)
    del saved["provenance"]
    torch.save(saved, folder / "w.ckpt")
    return folder / "w.ckpt"


def with_emptied_record(checkpoint, folder):
    saved = torch.load(checkpoint, weights_only=True)
    saved["provenance"] = Provenance.of().plain()
    torch.save(saved, folder / "w.ckpt")
    return folder / "w.ckpt"


def with_emptied_keys(checkpoint, folder):
    saved = torch.load(checkpoint, weights_only=True)
    for name in ("fitted", "fitted_pixels"):
        saved["provenance"][name] = torch.empty(0, dtype=torch.int64)
    torch.save(saved, folder / "w.ckpt")
    return folder / "w.ckpt"


@pytest.mark.parametrize("way", [as_safetensors, as_state_dict, without_record, with_emptied_record, with_emptied_keys])
def test_leak__through_weights_without_a_record_says_unknown(tmp_path, checkpoint, base, way):
    weights = way(checkpoint, tmp_path)
    started = MLP(data_info=base.info, hidden=[4], weights=str(weights))
    assert started.provenance.unknown == (str(weights),)
    records = [started.provenance.union(base.provenance)]
    if weights.suffix == ".ckpt":
        records.append(read_base(weights).provenance)
    for record in records:
        found = judged(record, base)
        assert found.unknown_images() == [f"base was fitted on unknown images: {weights}"]
        with pytest.raises(LeakageError, match="option allow_unknown true"):
            refuse_leakage(found, allow=False)


def test_leak__through_weights_with_a_record_is_refused(checkpoint, base):
    started = MLP(data_info=base.info, hidden=[4], weights=str(checkpoint))
    assert judged(started.provenance.union(base.provenance), base).problems()


def test_leak__is_found_in_a_record_of_an_earlier_version(checkpoint, base):
    saved = torch.load(checkpoint, weights_only=True)["provenance"]
    early = {name: value for name, value in saved.items() if not name.endswith(("_pixels", "_looks"))}
    assert judged(Provenance.from_plain(early), base).problems()


# groups


def scans(tmp_path, seed, groups, **options):
    return manifest(write(tmp_path / f"scans{seed}", photos(seed), prefix=f"{seed}-"), groups, **options)


GROUPS = {
    "missing for the stack": (lambda n: f"Patient {n // 2}", None),
    "missing for the base": (None, lambda n: f"Patient {n // 2}"),
    "in another case": (lambda n: f"Patient {n // 2}", lambda n: f"patient {n // 2}"),
    "with a space": (lambda n: f"patient {n // 2}", lambda n: f"Patient  {n // 2} "),
    "shared": (lambda n: f"p{n // 2}", lambda n: f"p{n // 2}"),
}


@pytest.mark.parametrize("way", GROUPS)
def test_leak__of_groups_is_refused(tmp_path, way):
    seen, ours = GROUPS[way]
    found = judged(scans(tmp_path, 1, seen), scans(tmp_path, 2, ours, split_seed=5))
    with pytest.raises(LeakageError, match="base was fitted on (other samples of the groups|unknown groups)"):
        refuse_leakage(found, allow=False)


# honest


def upright_of_other_images(tmp_path, base):
    return base, folder(write(tmp_path / "b", photos(5), turned))


def moved(tmp_path, base):
    return base, folder(shutil.copytree(base.root, tmp_path / "moved"))


def as_arrays(tmp_path, base):
    """The same pictures in the same splits, which content alone decides."""
    pictures, train = photos(0), base.dataset.train
    numbers = [int(name.split("/")[-1].split(".")[0]) for name in train.sample_names()]
    order = np.argsort(numbers, kind="stable")
    assert sorted(numbers) == list(range(len(pictures)))
    assert (train.labels.numpy()[order] == np.arange(len(pictures)) % 3).all()
    return base, npz(write_npz(tmp_path / "a.npz", pictures))


def saved_anew(tmp_path, base):
    return base, folder(write(tmp_path / "bmp", photos(0), SAME["bmp"], "z"))


def inverted(tmp_path, base):
    return base, folder(write(tmp_path / "i", [picture.swapaxes(0, 1) for picture in photos(0)]), split_seed=1)


def flat_images(tmp_path, base):
    shades = [np.full((SIDE, SIDE, 3), shade, np.uint8) for shade in range(0, 240, 2)]
    return folder(write(tmp_path / "one", shades[0::2])), folder(write(tmp_path / "two", shades[1::2]))


def nearly_flat_images(tmp_path, base):
    rng = np.random.default_rng(0)
    noisy = [rng.integers(100, 103, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(120)]
    return folder(write(tmp_path / "one", noisy[::2])), folder(write(tmp_path / "two", noisy[1::2]))


def tiny_images(tmp_path, base):
    rng = np.random.default_rng(0)
    tiny = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) // 64 * 64 for _ in range(120)]
    return folder(write(tmp_path / "one", tiny[::2])), folder(write(tmp_path / "two", tiny[1::2]))


def simple_shapes(tmp_path, base):
    shapes = []
    for number in range(120):
        shape = np.zeros((SIDE, SIDE, 3), np.uint8)
        shape[4 : 16 + number % 11, 3 : 12 + number // 11] = 200
        shapes.append(shape)
    return folder(write(tmp_path / "one", shapes[::2])), folder(write(tmp_path / "two", shapes[1::2]))


def one_kind_of_image(tmp_path, base):
    """Bright squares at the place of the class in noise: alike, and no copies."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(120)]
    for number, image in enumerate(images):
        place = number // 2 % 3 * 10
        image[:16, place : place + 10] += 120
    return folder(write(tmp_path / "one", images[::2])), folder(write(tmp_path / "two", images[1::2]))


def noise(tmp_path, base):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(120)]
    return folder(write(tmp_path / "one", images[::2])), folder(write(tmp_path / "two", images[1::2]))


def handwritten_digits(tmp_path, base):
    return Digits(**SPLIT), Digits(**SPLIT)


def other_patients(tmp_path, base):
    return scans(tmp_path, 1, lambda n: f"p{n // 2}"), scans(tmp_path, 2, lambda n: f"q{n // 2}")


def same_manifest(tmp_path, base):
    root = write(tmp_path / "scans", photos(3))
    return manifest(root, lambda n: f"P{n // 2}"), manifest(root, lambda n: f"P{n // 2}")


HONEST = {
    "the same split": lambda tmp_path, base: (base, folder(base.root)),
    "a held-out fold": lambda tmp_path, base: (
        [folder(base.root, stack_fraction=0.0, num_folds=4, fold=1, held_out="stack")] * 2
    ),
    "subsampled": lambda tmp_path, base: (folder(base.root, subsample=0.5), folder(base.root)),
    "other images": lambda tmp_path, base: (base, folder(write(tmp_path / "b", photos(4)), split_seed=1)),
    "other images of the same names": lambda tmp_path, base: (base, folder(write(tmp_path / "b", photos(4)))),
    **{
        case.__name__.replace("_", " "): case
        for case in (
            upright_of_other_images,
            moved,
            as_arrays,
            saved_anew,
            inverted,
            flat_images,
            nearly_flat_images,
            tiny_images,
            simple_shapes,
            one_kind_of_image,
            noise,
            handwritten_digits,
            other_patients,
            same_manifest,
        )
    },
}


@pytest.mark.parametrize("case", HONEST)
def test_honest__pair_is_neither_refused_nor_told(tmp_path, base, case):
    seen, stack = HONEST[case](tmp_path, base)
    found = judged(seen, stack)
    refuse_leakage(found, allow=False, near=True)
    assert found.warnings() == []
