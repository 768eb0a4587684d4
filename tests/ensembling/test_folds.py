import pytest
import torch

from ensembling.folds import join_copies, meta_folds


def test_meta_folds__are_stratified():
    labels = torch.arange(100) % 4
    folds = meta_folds(labels, 5, seed=0)
    assert torch.bincount(folds).tolist() == [20] * 5
    assert all(torch.bincount(labels[folds == fold]).tolist() == [5] * 4 for fold in range(5))
    assert torch.equal(folds, meta_folds(labels, 5, seed=0))
    assert not torch.equal(folds, meta_folds(labels, 5, seed=1))


def test_meta_folds__fewer_for_a_rare_class():
    labels = torch.cat([torch.zeros(50), torch.ones(3)]).long()
    folds = meta_folds(labels, 5, seed=0)
    assert sorted(folds[labels == 1].tolist()) == [0, 1, 2]
    assert int(meta_folds(labels, 5, seed=0, lower=False).max()) == 4


def test_meta_folds__a_single_sample_of_a_class():
    labels = torch.cat([torch.zeros(50), torch.ones(1)]).long()
    assert sorted(meta_folds(labels, 5, seed=0).unique().tolist()) == [0, 1, 2, 3, 4]


def test_meta_folds__groups_stay_together():
    labels, groups = torch.arange(60) % 3, torch.arange(60) // 4
    folds = meta_folds(labels, 5, seed=0, groups=groups)
    assert all(len(folds[groups == group].unique()) == 1 for group in range(15))
    assert len(folds.unique()) == 5


def test_meta_folds__fewer_samples_than_folds():
    assert sorted(meta_folds(torch.tensor([0, 1, 2]), 5, seed=0).tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="too few to hold some out"):
        meta_folds(torch.tensor([0]), 5, seed=0)


def test_join_copies__of_an_image_and_of_its_groups():
    keys = torch.tensor([5, 6, 5, 7, 8])
    assert join_copies(keys).tolist() == [0, 1, 0, 3, 4]
    # the copy joins the groups of both
    groups = torch.tensor([30, 10, 10, 20, 20])
    assert join_copies(keys, groups).tolist() == [0, 0, 0, 3, 3]


def test_join_copies__changes_nothing_where_there_are_none():
    keys, groups = torch.arange(4), torch.tensor([9, 9, 8, 8])
    assert join_copies(keys) is None
    assert torch.equal(join_copies(keys, groups), groups)
