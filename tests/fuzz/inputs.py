"""Files of every kind that somebody may hand over, whole ones and what can become of them."""

import copy
import io
import json
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as tensors_to_bytes

# what a text is turned into by somebody who means harm, or by a program that means well
WORDS = (
    *("!!python/object/apply:os.system [touch harmed]", "!!python/name:os.system", "&a [*a, *a]", "<<: *a", "? [a]: b"),
    *("class_path: os.system", "class_path: builtins.eval", "init_args: {code: open('harmed', 'w')}", "model: {}"),
    *("../../../../tmp/harmed", "/dev/zero", "~", "$HOME", "${oc.env:HOME}", "file:///etc/passwd", "http://localhost/"),
    *("=cmd|' /C calc'!A0", "@SUM(1)", "nan", ".inf", "-1", "1e999", "9" * 400, "0x7fffffffffffffff", "true", "null"),
    *("\x00", "\x1b[2J", "\u202e", "\ufeff", "\r", "\t", "\n", ",", ";", '"', "'", "{", "[", ": ", "- ", "#", "%", "|"),
    *("[" * 300, "a: " * 50, " " * 2000, "é", "漢", "😀", "[crop, flip]", "trainer.max_epochs: 3", "heads: [MeanHead]"),
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, words: tuple[bytes, ...] = ()) -> bytes:
    """Change a file in one to four places: bits, bytes, words, parts lost or said twice, or its end cut off."""
    content = bytearray(whole)
    kinds = ["bit", "bytes", "lost", "twice", "end"] + (["word"] * 4 if words else [])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(kinds))
        if kind == "bit" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "bytes":
            content[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
        elif kind == "word":
            content[place : place + draw(st.integers(0, 12))] = draw(st.sampled_from(words))
        elif kind == "lost":
            del content[place : place + draw(st.integers(1, 64))]
        elif kind == "twice":
            part = content[place : place + draw(st.integers(1, 64))]
            content[place:place] = part * draw(st.integers(1, 3))
        elif kind == "end":
            del content[place:]
    return bytes(content)


@st.composite
def reworded(draw: st.DrawFn, text: str) -> bytes:
    """Put other words in place of one to three of a text, and leave its form as it is."""
    for _ in range(draw(st.integers(1, 3))):
        places = [found.span() for found in re.finditer(r"[\w./-]+", text)]
        if places:
            begin, end = draw(st.sampled_from(places))
            text = text[:begin] + draw(st.sampled_from(WORDS) | st.text(max_size=6)) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def damaged_text(text: str) -> st.SearchStrategy[bytes]:
    """Change a text, by words that mean something to its readers too."""
    return reworded(text) | damaged(text.encode(), tuple(word.encode() for word in WORDS))


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    """Return what a function writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def picture(kind: str, **options: object) -> bytes:
    """Return an image file of a format."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    return written(lambda file: Image.fromarray(pixels).save(file, kind, **options))


def images() -> st.SearchStrategy[bytes]:
    """Damaged images of the usual formats."""
    kinds = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
    return st.sampled_from([picture(kind) for kind in kinds]).flatmap(damaged)


def arrays() -> bytes:
    """Return an npz file of eight images."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8), np.arange(8) % 2
    return written(lambda file: np.savez(file, x_train=pixels, y_train=labels, x_test=pixels[:4], y_test=labels[:4]))


def table() -> pa.Table:
    """Return a manifest of images that are not there."""
    paths = [f"{number}.png" for number in range(6)]
    return pa.table({"path": paths, "label": ["cat", "dog"] * 3, "source": ["x"] * 6})


# values that nobody expects where they stand
ODD = (
    *(None, True, -1, 0, 2**63, 1e308, float("nan"), float("inf"), "", "../../harmed", "os.system", "a" * 3000),
    *([], {}, [[]], {"class_path": "os.system"}, {"": None}, [None], [1, "a"], b"x"),
    *(torch.zeros(0), torch.zeros(2, 3, 4), torch.tensor(float("nan")), torch.ones(3, dtype=torch.int64)),
)


def places_in(content: object, above: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """List where the values of a nested object are."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in inner for place in ((*above, key), *places_in(value, (*above, key)))]


@st.composite
def odd_checkpoint(draw: st.DrawFn, whole: bytes) -> bytes:
    """Put odd values in place of one or two of a checkpoint, or leave them out."""
    content = copy.deepcopy(torch.load(io.BytesIO(whole), weights_only=True))
    for _ in range(draw(st.integers(1, 2))):
        *above, key = draw(st.sampled_from(places_in(content)))
        owner = content
        for each in above:
            owner = owner[each]
        if draw(st.booleans()) or not isinstance(owner, dict):
            owner[key] = draw(st.sampled_from(ODD))
        else:
            del owner[key]
    return written(lambda file: torch.save(content, file))


@st.composite
def odd_arrays(draw: st.DrawFn) -> bytes:
    """Return an npz file, some of whose arrays have another shape or type, or odd values."""
    found = dict(np.load(io.BytesIO(arrays())))
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(found)))
        array = found[name]
        kind = draw(st.sampled_from(["shape", "type", "value", "lost", "none"]))
        if kind == "shape":
            shape = draw(st.lists(st.integers(0, 5), max_size=5))
            found[name] = np.zeros(shape, array.dtype)
        elif kind == "type":
            found[name] = array.astype(
                draw(st.sampled_from(["f2", "f4", "f8", "c8", "?", "i1", "i8", "u8", "U3", "S2"]))
            )
        elif kind == "value":
            factor = draw(st.sampled_from([1e30, -1.0, float("nan"), float("inf"), 1e-30, 3.7]))
            found[name] = array * factor if array.dtype.kind in "uifb" else array
        elif kind == "lost":
            del found[name]
        else:
            found[name] = np.zeros((0, *array.shape[1:]), array.dtype)
    return written(lambda file: np.savez(file, **found))


@st.composite
def odd_parquet(draw: st.DrawFn) -> bytes:
    """Return a manifest, some of whose columns have another type, another name, or odd values."""
    found = {name: column.to_pylist() for name, column in zip(table().column_names, table().columns, strict=True)}
    odd = [[None] * 6, [1, 2, 3, 4, 5, None], [0.5, float("nan")] * 3, [b"a", b"\xff"] * 3, [[1], []] * 3, [True] * 6]
    odd += [[{"a": 1}] * 6, ["", " "] * 3, ["=1+1"] * 6, ["../../etc/passwd"] * 6, ["a\x00b"] * 6, ["0.png"] * 6]
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(found)))
        kind = draw(st.sampled_from(["values", "values", "name", "lost"]))
        values = found.pop(name)
        if kind == "values":
            found[name] = draw(st.sampled_from(odd))
        elif kind == "name":
            found[draw(st.sampled_from(["split", "group", "p(cat)", "Path", " label ", "", "\x00", "source"]))] = values
        if not found:
            break
    return written(lambda file: pq.write_table(pa.table(found), file))


@st.composite
def odd_tensors(draw: st.DrawFn) -> bytes:
    """Return predictions, some of whose tensors have another shape, type or name."""
    found = {"test/id": torch.arange(6), "test/label": torch.arange(6) % 2, "test/logits": torch.eye(6)}
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(found)))
        tensor = found.pop(name)
        kind = draw(st.sampled_from(["shape", "type", "name", "lost"]))
        if kind == "shape":
            found[name] = torch.zeros(draw(st.lists(st.integers(0, 4), max_size=4)))
        elif kind == "type":
            found[name] = tensor.to(draw(st.sampled_from([torch.float16, torch.bool, torch.uint8, torch.float64])))
        elif kind == "name":
            found[draw(st.sampled_from(["", "/", "val/logits", "../x", "test"]))] = tensor
        if not found:
            break
    return tensors_to_bytes(found, metadata=draw(st.sampled_from([None, {}, {"content": "x"}, {"": ""}])))


def parquet() -> bytes:
    """Return a manifest as a parquet file."""
    return written(lambda file: pq.write_table(table(), file))


def manifest() -> str:
    """Return a manifest as text."""
    rows = zip(*(column.to_pylist() for column in table().columns), strict=True)
    return "\n".join(["path,label,source", *(",".join(row) for row in rows)]) + "\n"


def numbers() -> str:
    """Return a table of numbers and words as text."""
    return "a,b,kind,target\n" + "".join(f"{n / 3:.3f},{n * n},{'uv'[n % 2]},{'yn'[n % 2]}\n" for n in range(12))


def tensors() -> bytes:
    """Return predictions as a safetensors file."""
    return tensors_to_bytes(
        {"test/id": torch.arange(6), "test/label": torch.arange(6) % 2, "test/logits": torch.eye(6)}
    )


class Harm:
    """Leaves a file behind where it is unpickled, and does nothing else."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, ("harmed", "w")


def harmful() -> bytes:
    """Return a file of weights that would write a file, were its pickle followed."""
    return written(lambda file: torch.save({"state_dict": {"a": torch.zeros(2)}, "harm": Harm()}, file))


def plan() -> str:
    """Return the plan of a stack."""
    content = {
        "experiment": "x",
        "options": {"data": "Digits", "trainer.max_epochs": 1, "data.stack_fraction": 0.3},
        "members": [{"name": "a", "options": {"model": "Linear"}}, {"name": "b", "options": {"model": "MLP"}}],
        "heads": ["MeanHead", {"class_path": "LogisticHead", "init_args": {"C": 1.0}}],
    }
    return json.dumps(content, indent=1)


STUDY = """\
experiment: x
options: {data: Digits, trainer.max_epochs: 1}
axes:
  model:
    linear: {options: {model: Linear}}
    mlp: {options: {model: MLP, model.hidden: [8]}}
  model.optimizer.lr: [0.001, 0.01]
seeds: 2
"""
CONFIG = """\
seed_everything: 1
data:
  class_path: Digits
  init_args: {batch_size: 64, val_fraction: 0.2}
model:
  class_path: MLP
  init_args:
    hidden: [8]
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
trainer: {max_epochs: 1}
run: {name: a}
"""
