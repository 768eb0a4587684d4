import pytest
import torch
from safetensors.torch import load_file, save_file

from records.damaged import DamagedFileError
from records.tensor_files import read_tensors, with_checksum

TENSORS = {
    "id": torch.arange(5),
    "logits": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "mask": torch.tensor(True),
    "none": torch.zeros(0, 4),
}


def test_read__what_was_written(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", with_checksum(TENSORS, {"said": "ä"}))
    tensors, checked = read_tensors(tmp_path / "a.safetensors", "make it anew")
    assert checked
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert load_file(tmp_path / "a.safetensors").keys() == TENSORS.keys()


def test_read__files_of_others_have_no_checksum(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", {"format": "pt"})
    assert not read_tensors(tmp_path / "a.safetensors", "make it anew")[1]


def told(path):
    try:
        read_tensors(path, "make it anew")
    except DamagedFileError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("part", [0, 1])
def test_read__every_flipped_byte_and_cut_is_seen(part, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, with_checksum(TENSORS, {"said": "something"}))
    content = path.read_bytes()
    unseen = []
    for place in range(part, len(content), 2):
        for changed in (
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :],
            content[:place],
        ):
            path.write_bytes(changed)
            said = told(path)
            if not (said.startswith(f"{path} is damaged (") and said.endswith("): make it anew")):
                unseen.append((place, len(changed), said))
    assert unseen == []


def test_read__no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "a.safetensors", "make it anew")
