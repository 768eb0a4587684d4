"""Logits of members kept on disk: a member's logits for an image are computed once."""

import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.warned import warn
from ensembling.choices import LOGIT_CACHE
from records.whole_file import save_tensors, write_whole

# seconds after which a file that was never renamed is one that a killed process has left
ABANDONED = 24 * 3600


@dataclass
class LogitCounts:
    """How many logits were computed, and how many were known.

    Args:
        computed: rows of one member for one sample that a member was run for
        reused: rows that were read from the cache
    """

    computed: int = 0
    reused: int = 0

    def __str__(self) -> str:
        return f"logits: {self.reused:,} read from the cache, {self.computed:,} computed"


class LogitCache:
    """A folder of logits, shared by runs and processes.

    It holds one folder for each way in which logits come about (weights, pixels, views, precision), and in it files
    ("shards") of content keys with their logits. A shard is written beside its place and renamed when it is whole, and
    is never changed, so that no process waits for another. Anything in the folder may be removed at any time.

    Args:
        folder: where it lies
    """

    def __init__(self, folder: str | Path = LOGIT_CACHE) -> None:
        self.folder = Path(folder)

    def place(self, how: Mapping[str, str]) -> Path:
        """Return the folder of the logits that come about in one way.

        Args:
            how: all that logits depend on besides the image, by name
        """
        digest = hashlib.blake2b(repr(sorted(how.items())).encode(), digest_size=16)
        return self.folder / digest.hexdigest()

    def read(self, how: Mapping[str, str], keys: Tensor) -> tuple[Tensor, Tensor]:
        """Look up the logits of some images.

        A damaged shard is left out, with a warning.

        Args:
            how: see `place`
            keys: content key of each image, int64, shape `(sample,)`

        Returns:
            which of them are known, bool, shape `(sample,)`; and logits, float32, shape `(sample, class)`, whose rows
            are of use where they are known; without any there are no classes
        """
        known = torch.zeros(len(keys), dtype=torch.bool)
        logits = torch.zeros(len(keys), 0)
        for path in sorted(self.place(how).glob("*.safetensors")):
            wanted = torch.nonzero(~known)[:, 0]
            if not len(wanted):
                break
            shard = read_shard(path)
            if shard is None:
                continue
            held, rows = shard
            places = torch.searchsorted(held, keys[wanted]).clamp_(max=len(held) - 1)
            found = held[places] == keys[wanted]
            if not logits.shape[1]:
                logits = torch.zeros(len(keys), rows.shape[1])
            logits[wanted[found]] = rows[places[found]]
            known[wanted[found]] = True
        return known, logits

    @rank_zero_only
    def write(self, how: Mapping[str, str], keys: Tensor, logits: Tensor) -> None:
        """Keep logits; of several processes of a run, the first one does.

        Where they cannot be written there is a warning, and they are computed again another time.

        Args:
            how: see `place`
            keys: content key of each image, each once, int64, shape `(sample,)`
            logits: float32, shape `(sample, class)`
        """
        keys, order = keys.sort()
        logits = logits[order].contiguous()
        place = self.place(how)
        # two processes that compute the same rows write the same file
        name = hashlib.blake2b(keys.numpy().tobytes(), digest_size=16).hexdigest()
        try:
            remove_abandoned(place)
            with write_whole(place / f"{name}.safetensors") as partial:
                save_tensors(partial, {"key": keys, "logits": logits}, {**how, "checksum": checksum(keys, logits)})
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            warn(
                f"logits cannot be kept in {place} ({error}) and will be computed again: make room, or choose another "
                f"folder by the option logit_cache"
            )


def read_shard(path: Path) -> tuple[Tensor, Tensor] | None:
    """Read a shard's sorted keys `(sample,)` and logits `(sample, class)`; None, with a warning, if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            keys, logits, noted = file.get_tensor("key"), file.get_tensor("logits"), file.metadata() or {}
        kinds = (keys.dtype, keys.ndim, logits.dtype, logits.ndim) == (torch.int64, 1, torch.float32, 2)
        whole = kinds and len(keys) == len(logits) > 0 and noted.get("checksum") == checksum(keys, logits)
        reason = "its content has changed"
    except FileNotFoundError:
        # removed since it was listed
        return None
    except (OSError, SafetensorError) as error:
        whole, reason = False, str(error)
    if not whole:
        warn(f"{path} is damaged ({reason}): its logits are computed again; it may be removed")
        return None
    return keys, logits


def checksum(keys: Tensor, logits: Tensor) -> str:
    """Sum up the bytes of a shard: of a file that lost power, the length may be right and the content not."""
    return str(zlib.crc32(logits.numpy().data, zlib.crc32(keys.numpy().data)))


def remove_abandoned(place: Path) -> None:
    """Remove what killed processes have left half-written."""
    for partial in place.glob(".*"):
        try:
            if time.time() - partial.stat().st_mtime > ABANDONED:
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        except OSError:
            # another process was faster
            continue
