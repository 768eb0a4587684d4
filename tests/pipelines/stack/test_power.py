import json
from types import SimpleNamespace

import pytest
import torch

from measures.power import smallest_visible_gain
from pipelines.cells.job import CellFiles
from pipelines.stack import power
from pipelines.stack.plan import Member, StackPlan


class Samples(SimpleNamespace):
    def __len__(self):
        return len(self.keys)


def samples(count, groups=None, start=0):
    keys = torch.arange(start, start + count)
    return of_keys(keys, None if groups is None else keys % groups)


def of_keys(keys, groups=None):
    return Samples(
        ids=keys, keys=keys, labels=keys, groups=groups, pixels=None, looks=None, sources=None, group_forms=None
    )


def plan(**changes):
    return StackPlan([Member("one", options={"model": "Linear"})], **changes)


def told(monkeypatch, planned, folder, held_out, test):
    monkeypatch.setattr(power, "meta_samples", lambda plan, data: held_out)
    monkeypatch.setattr(power, "tested_samples", lambda data: test)
    return power.visible_gain(planned, None, folder)


def test_visible_gain__is_the_larger_of_both(monkeypatch, tmp_path):
    text = told(monkeypatch, plan(expected_disagreement=0.03), tmp_path, [samples(287)], samples(359))
    held_out, test = (100 * smallest_visible_gain(count, 0.03) for count in (287, 359))
    assert f"with 287 held-out and 359 test images, less than {held_out:.1f} points of accuracy cannot be seen" in text
    assert f"test {test:.1f}" in text
    assert "3.0% of the images, as given" in text


def test_visible_gain__counts_groups_and_copies_once(monkeypatch, tmp_path):
    # two folds of 50 images, in 10 groups
    folds = [samples(50, 10), samples(50, 10, 50)]
    copies = of_keys(torch.arange(200) // 2)
    text = told(monkeypatch, plan(), tmp_path, folds, copies)
    assert "with 10 held-out and 100 test groups (of 100 and 200 images)" in text


def test_visible_gain__too_few_see_nothing(monkeypatch, tmp_path):
    text = told(monkeypatch, plan(), tmp_path, [samples(5)], samples(359))
    assert text == "with 5 held-out and 359 test images, no gain in accuracy can be seen: there are too few"


def test_expected_accuracy__is_given_or_known_from_finished_cells_or_assumed(tmp_path):
    assert power.expected_accuracy(plan(), tmp_path) == (0.9, "an assumption")
    files = CellFiles(tmp_path, "one")
    files.write({"status": "done", "seconds": 1.0})
    files.run.checkpoints.mkdir(parents=True)
    files.run.result.write_text(json.dumps({"val": {"accuracy": 0.97}}))
    files.run.best.touch()
    assert files.is_done
    assert power.expected_accuracy(plan(), tmp_path) == (0.97, "as validated by finished cells")
    assert power.expected_accuracy(plan(expected_accuracy=0.5), tmp_path) == (0.5, "as given")


@pytest.mark.parametrize("option", ["expected_accuracy", "expected_disagreement"])
def test_plan__expects_shares(option):
    with pytest.raises(ValueError, match=option):
        plan(**{option: 1.5})
