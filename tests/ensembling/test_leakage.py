import pytest
import torch

from datamodules.provenance import Provenance
from ensembling.leakage import LeakageError, find_leakage, refuse_leakage

NONE = torch.empty(0, dtype=torch.int64)


def record(fitted, selected=()):
    return Provenance.of([torch.tensor(fitted)], [torch.tensor(list(selected), dtype=torch.int64)])


def test_leakage__none_where_samples_differ():
    leakage = find_leakage(torch.tensor([7, 8]), NONE, {"a": record([1, 2]), "b": record([3])})
    assert not leakage.problems()
    assert not leakage.warnings()
    refuse_leakage(leakage, allow=False)


def test_leakage__names_the_base_and_the_count():
    leakage = find_leakage(torch.tensor([1, 2, 7, 7]), NONE, {"a": record([1, 2]), "b": record([7]), "c": record([9])})
    assert leakage.fitted == {"a": 2, "b": 2}
    with pytest.raises(LeakageError, match="a was fitted on 2 of the meta-training samples; b was fitted on 2 .*"):
        refuse_leakage(leakage, allow=False)
    refuse_leakage(leakage, allow=True)


def test_leakage__selection_is_a_warning():
    leakage = find_leakage(torch.tensor([5]), NONE, {"a": record([1], selected=[5])})
    refuse_leakage(leakage, allow=False)
    assert leakage.warnings() == ["a was selected on 1 meta-training samples"]


def test_leakage__a_base_without_a_record_is_refused():
    with pytest.raises(LeakageError, match="a does not say what it was fitted on"):
        refuse_leakage(find_leakage(torch.tensor([5]), NONE, {"a": None}), allow=False)


def test_leakage__validating_on_fitted_samples_is_a_warning():
    leakage = find_leakage(torch.tensor([5]), torch.tensor([1, 2]), {"a": record([2])})
    refuse_leakage(leakage, allow=False)
    assert leakage.warnings() == ["a was fitted on 1 of the samples that the stack is validated on"]
