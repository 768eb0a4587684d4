"""`python train.py shards`: write the images of any data set into shards, which `--data Streamed` reads."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from common.ranges import check_range
from datamodules.files.image_files import ImageFiles
from datamodules.held_test import HeldTest
from datamodules.shards.writing import need_litdata, write_shards
from pipelines.cli.data_command import must_have_images, options_of, parse_with_data


@dataclass
class ShardOptions:
    """Where shards are written.

    Args:
        out: folder to write, which must not be there yet, or be empty
        shard_mb: megabytes of a shard; of an object store, a shard is fetched whole
    """

    out: str = "shards"
    shard_mb: float = 64.0

    def __post_init__(self) -> None:
        # litdata counts the bytes of a shard in 32 bits
        check_range("--shard_mb", self.shard_mb, "(0, 4000]")


def main(args: list[str]) -> int:
    """Run `python train.py shards`.

    Args:
        args: the command line after `shards`

    Returns:
        the exit status
    """
    given, parsed = parse_with_data("shards", __doc__ or "", args, ShardOptions)
    data, options = must_have_images(given, "shards hold"), options_of(ShardOptions, parsed)
    need_litdata("shards")
    if isinstance(data, HeldTest):
        # what reads the shards draws the test split, as it draws the others
        data.test_fraction = 0.0
    if isinstance(data, ImageFiles) and data.cache == "auto":
        # all are decoded once, to know them, and once more as they are written: they are never all in memory
        data.cache = "none"
    folder = Path(options.out)
    description = write_shards(data, folder, options.shard_mb)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    height, width, _ = description.shape
    splits = ", ".join(description.splits)
    Console().print(
        f"{folder}: {splits} at {height}x{width}, {size / 1e9:.3g} GB: python train.py fit --data Streamed --data.root "
        f"{folder}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return 0
