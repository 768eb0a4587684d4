import random
import re
import string
from datetime import timedelta
from enum import Enum, StrEnum
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from common.jsonargparse_seam import TYPED_OPTIONS, use_project_yaml
from common.yaml_files import (
    NoYAMLFormError,
    YAMLFileError,
    difference,
    dump,
    one_line,
    plain,
    read,
    read_mapping,
    write,
)
from common.yaml_loader import load

# texts that some reader of YAML takes for something else, or that its grammar makes hard to write
TEXTS = r"""12e4 4e12345 1e3 1E3 2e5 +1e3 1e-5 .5 -.5 1. 1_000 1_0.5 0x1F 0b11 0o17 007 08 +5 1:30 190:20:30.15 ._ -0
no No yes on off true FALSE y N null Null ~ None nan .nan .inf -.INF inf 2024-01-05 2024-01-05T10:00:00Z = << - -- ---
... : ? ! !!str &a *a % @ ` | > # , [] {} [a] {a} ' " \ \n \ud83d é ½ ² ١٢ 猫 😀""".split()  # noqa: SIM905
TEXTS += [
    "",
    " ",
    " x",
    "x ",
    "a b",
    "on: off",
    "a:",
    "a #b",
    "- a",
    "? a",
    "a\nb",
    "a\n",
    "\n",
    "a\r\nb",
    "\ta",
    "a\tb",
]
TEXTS += ["\x00", "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "b\udce4r", "\ud800", "x" * 500, "a, b" * 99]
NUMBERS = [0, -1, 2**80, True, False, None, 0.0, -0.0, 1e-5, 1e22, 5e-324, 0.1, float("inf"), float("-inf"), 16.0]


def drawn(seed):
    draw = random.Random(seed)

    def text():
        if draw.random() < 0.7:
            return draw.choice(TEXTS)
        letters = [*string.printable, *"éß€猫😀\x00\x1b\x85\u2028\udc80\udcff"]
        return "".join(draw.choices(letters, k=draw.randrange(12)))

    def value(depth):
        kind = draw.random()
        if depth and kind < 0.25:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        if depth and kind < 0.5:
            return {text(): value(depth - 1) for _ in range(draw.randrange(4))}
        return text() if kind < 0.85 else draw.choice(NUMBERS)

    return value(4)


@pytest.fixture
def parser():
    use_project_yaml()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--names", type=list[str])
    parser.add_argument("--name", type=str)
    parser.add_argument("--rate", type=float)
    return parser


@pytest.mark.parametrize("text", TEXTS)
def test_dump__text_stays_text_for_every_reader(text):
    for value in (text, [text], {text: text}, {"k": {text: [text]}}):
        for written in (dump(value), one_line(value)):
            assert written.isascii()
            assert load(written) == value
            if not re.search("[\ud800-\udfff]", text):
                # another library reads the same
                assert yaml.safe_load(written) == value
        assert "\n" not in one_line(value)


def test_dump__any_value_reads_back():
    for seed in range(400):
        value = drawn(seed)
        assert difference(value, load(dump(value))) == "", seed
        assert difference(value, load(one_line(value))) == "", seed
    assert load(dump([float("nan")]))[0] != load(dump([float("nan")]))[0]


def test_dump__readable_where_it_can_be():
    value = {"model": {"class_path": "lightning_modules.MLP"}, "lr": 1e-05, "root": "/data/x", "layers": [8, 8]}
    text = "model:\n  class_path: lightning_modules.MLP\nlr: 1.0e-05\nroot: /data/x\nlayers:\n- 8\n- 8\n"
    assert dump(value) == text
    shared = [1]
    assert dump({"a": shared, "b": shared}) == "a:\n- 1\nb:\n- 1\n"


class Colour(Enum):
    RED = 1


class Word(StrEnum):
    STEP = "step"


def test_plain__what_options_hold():
    value = {
        "e": Colour.RED,
        "w": Word.STEP,
        "t": (1, "a"),
        "p": Path("a/b"),
        "d": torch.device("cpu"),
        "k": torch.half,
    }
    assert plain(value) == {"e": "RED", "w": "step", "t": [1, "a"], "p": "a/b", "d": "cpu", "k": "torch.float16"}
    assert type(plain(Word.STEP)) is str


@pytest.mark.parametrize("value", [{1, 2}, object(), timedelta(1), b"x", torch.zeros(1), print])
def test_plain__refuses_by_name(value):
    with pytest.raises(NoYAMLFormError, match=r"trainer\.callbacks\[0\]\.x is .*, which a config cannot hold"):
        dump({"trainer": {"callbacks": [{"x": value}]}})


def test_dump__refuses_what_would_change():
    # read as one character
    with pytest.raises(NoYAMLFormError, match="reads back as"):
        dump({"a": "\ud83d\ude00"})
    nested = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(NoYAMLFormError, match="more than 100 values lie inside one another"):
        dump(nested)


def test_write__comments_and_halves(tmp_path):
    path = tmp_path / "a.yaml"
    write(path, {"root": "b\udce4r"}, ("found by größe\nx: 1 \udce4\x07",))
    assert path.read_bytes().startswith("# found by größe x: 1".encode())
    assert read(path) == {"root": "b\udce4r"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_read__encodings_that_say_what_they_are(tmp_path, encoding):
    path = tmp_path / "a.yaml"
    path.write_bytes("# größer\r\nroot: ä\r\n".encode(encoding))
    assert read_mapping(path) == {"root": "ä"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nroot: größe\n".encode("cp1252"), "line 2: the text is not UTF-8; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "line 1: the text is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb:\n\tc: 2\n", "line 3: there is a tab; indent with spaces"),
        (b"a: 1\nb: 2\n\na: 3\n", "line 4: the key 'a' comes twice"),
        (b"a: {b: 1, b: 2}\n", "line 1: the key 'b' comes twice"),
        (b"# none\n- a\n", "line 2: the file must hold options by name, .* it holds a list"),
        (b"", "line 1: the file must hold options by name, .* it holds nothing"),
        (b"12e4", "it holds only 120000.0"),
        (b"1: 2", "it holds the name 1, which is no text"),
        (b"a: [1\nb: 2\n", "line 2: "),
        (b"a: b: c", "line 1: mapping values are not allowed"),
        (b"a: 1\n---\nb: 2\n", "expected a single document in the stream but found another document"),
        (b"a: !!python/object/apply:os.system [true]", "line 1: a value of the kind .* is not read here"),
        (b"a: !!binary eHh4", "line 1: a value of the kind 'binary' is not read here"),
        (b"a: &x [*x]", r"line 1: \*x lies inside of what it stands for"),
        (b"a: *x", "line 1: found undefined alias"),
        (b"a: " + b"[" * 100_000, "line 1: more than 100 values lie inside one another"),
        (b"- " * 100_000, "line 1: more than 100 values lie inside one another"),
        (
            b"a: &a [1]\n"
            + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 110)),
            "line 5: aliases such as .* repeat more than 10,000 values",
        ),
    ],
)
def test_read_mapping__names_file_and_line(tmp_path, content, said):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(YAMLFileError, match=rf"^{re.escape(str(path))}, .*{said}") as caught:
        read_mapping(path)
    assert "\n" not in str(caught.value)


def test_read__no_file(tmp_path):
    with pytest.raises(YAMLFileError, match="a.yaml cannot be read: No such file"):
        read(tmp_path / "a.yaml")
    with pytest.raises(YAMLFileError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_load__what_is_a_number():
    texts = ["2024-01-05", "1:30", "=", "08", "._", "0x_", "1e3"]
    text = "[1e3, 1_000, 0x1F, 007, .5, 1., on, ~, 2024-01-05, 1:30, =, 08, ._, 0x_, '1e3']"
    assert load(text) == [1000.0, 1000, 31, 7, 0.5, 1.0, True, None, *texts]
    assert load("9" * 5000) == "9" * 5000
    # a character as JSON writes it, in two halves
    assert load(r'"\ud83d\ude00"') == "😀"


def test_load__aliases_within_measure():
    assert load("{a: &x {k: 1}, b: {<<: *x, l: 2}, c: [*x, *x]}")["b"] == {"k": 1, "l": 2}


def test_load__options_as_typed():
    text = "{seed: 1e3, options: {a: 12e4, b: no, c: null, d: {e: 0x1F}, f: [1e3]}, members: [{options: {a: 1_0}}]}"
    options = {"a": "12e4", "b": "no", "c": None, "d": {"e": "0x1F"}, "f": [1000.0]}
    wanted = {"seed": 1000.0, "options": options, "members": [{"options": {"a": "1_0"}}]}
    assert load(text, as_typed=("options",)) == wanted


def test_parser__reads_what_was_written(parser, tmp_path):
    path = tmp_path / "a.yaml"
    for name in ("12e4", "1_000", "0x1F", "no", "2024-01-05", "b\udce4r", "on: off", "x\ny"):
        parsed = parser.parse_args(["--name", name, f"--names={one_line([name, 'null'])}", "--rate=1e-3"])
        assert (parsed.name, parsed.names, parsed.rate) == (name, [name, "null"], 1e-3)
        write(path, {"name": name, "names": [name, "null"]})
        parsed = parser.parse_args(["--config", str(path)])
        assert (parsed.name, parsed.names) == (name, [name, "null"])
        assert load(parser.dump(parsed))["names"] == [name, "null"]


def test_parser__config_in_another_encoding(parser, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("name: ä\n".encode("utf-16"))
    assert parser.parse_args(["--config", str(path)]).name == "ä"
    path.write_bytes("name: ä\n".encode("latin-1"))
    with pytest.raises(YAMLFileError, match=r"a.yaml, line 1: the text is not UTF-8"):
        parser.parse_args(["--config", str(path)])


def test_parser__options_as_typed(tmp_path):
    use_project_yaml()
    parser = ArgumentParser(exit_on_error=False, parser_mode=TYPED_OPTIONS)
    parser.add_argument("--config", action="config")
    parser.add_argument("--options", type=dict)
    path = tmp_path / "a.yaml"
    path.write_text("options: {a: 12e4, b: 'no', c: [1, 2]}")
    assert parser.parse_args(["--config", str(path)]).options == {"a": "12e4", "b": "no", "c": [1, 2]}
    assert parser.parse_args(["--options.a", "12e4"]).options == {"a": "12e4"}


@pytest.mark.parametrize("text", ["#1", "# a comment", "---", "...", "%", "@x", "[a", "a: b"])
def test_parser__text_that_is_nothing_to_yaml_stays(text):
    use_project_yaml()
    for mode in ("yaml", TYPED_OPTIONS):
        parser = ArgumentParser(exit_on_error=False, parser_mode=mode)
        parser.add_argument("--name", type=str | None)
        assert parser.parse_args([f"--name={text}"]).name == text
        assert parser.parse_args(["--name=null"]).name is None
