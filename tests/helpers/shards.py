"""Small generated shards."""

from datamodules import ImageFolder, Streamed
from datamodules.shards.writing import write_shards
from tests.helpers.data import write_image_folder


def write(folder, per_class=12, per_shard=8, splits=("train", "test"), **options):
    """Write class folders and the same images in shards; return both folders."""
    images = write_image_folder(folder / "images", per_class=per_class, splits=splits)
    data = ImageFolder(root=str(images), test_fraction=0.0, num_workers=0, **options)
    # a sample of 16x16 pixels in colour takes 816 bytes
    write_shards(data, folder / "shards", shard_mb=(per_shard + 0.5) * 816 / 1e6)
    return images, folder / "shards"


def streamed(shards, **options):
    """Read shards in this thread."""
    return Streamed(root=str(shards), **{"num_workers": 0, "batch_size": 8, **options})


def fetched(shards, cache, **options):
    """Read shards as from an object store."""
    return Streamed(root=f"local:{shards}", cache_dir=str(cache), **{"num_workers": 0, "batch_size": 8, **options})


def flip(path, place):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
