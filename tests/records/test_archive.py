import random

import pytest
import torch

from records.archive import ArchiveError, check_archive, check_content


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "a.pt"
    torch.save({"weights": torch.arange(200.0), "steps": torch.tensor([3]), "name": "a"}, path)
    return path.read_bytes()


def is_whole(content):
    try:
        check_content(memoryview(content))
    except ArchiveError:
        return False
    return True


def test_check__a_whole_file(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    check_archive(tmp_path / "a.pt")
    assert is_whole(content)


def test_check__every_flipped_bit_is_seen(content):
    unseen = []
    for place in range(len(content)):
        changed = bytearray(content)
        # all bits of headers and directory would take seconds
        changed[place] ^= 1 << random.Random(place).randrange(8)
        unseen += [place] if is_whole(changed) else []
    assert unseen == []


def test_check__every_cut_and_addition_is_seen(content):
    assert [length for length in range(len(content)) if is_whole(content[:length])] == []
    assert [more for more in range(1, 200) if is_whole(content + bytes(more))] == []
    assert [more for more in range(1, 200) if is_whole(bytes(more) + content)] == []
    assert not is_whole(content[:100] + content[101:])
    assert not is_whole(content + content)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "does not begin as a file of torch.save does"),
        (b"PK\3\4", "it was cut off"),
    ],
)
def test_check__says_what_is_wrong(written, message, tmp_path):
    (tmp_path / "a.pt").write_bytes(written)
    with pytest.raises(ArchiveError, match=message):
        check_archive(tmp_path / "a.pt")


def test_check__names_the_member(content, tmp_path):
    changed = bytearray(content)
    changed[content.index(torch.arange(200.0).numpy().tobytes()) + 400] ^= 16
    (tmp_path / "a.pt").write_bytes(changed)
    with pytest.raises(ArchiveError, match="the content of data/0 has changed"):
        check_archive(tmp_path / "a.pt")
