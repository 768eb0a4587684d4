from dataclasses import replace

import pytest
import torch

from datamodules.provenance import Provenance
from datamodules.samples import Samples, TensorSource
from ensembling.leakage import (
    Leakage,
    LeakageError,
    find_leakage,
    join_leakage,
    leakage_mark,
    leave_out_leaked,
    refuse_leakage,
)


def of(keys, groups=None, **columns):
    """Samples that are known by their keys alone."""
    keys = torch.as_tensor(keys)
    columns = {name: torch.as_tensor(column) for name, column in columns.items()}
    groups = None if groups is None else torch.as_tensor(groups)
    names = [f"{number}.png" for number in range(len(keys))]
    return Samples(TensorSource(keys), torch.arange(len(keys)), keys, keys, keys, names, groups=groups, **columns)


def record(fitted=(), selected=(), **roles):
    roles |= {"fitted": fitted, "selected": selected}
    return Provenance.of(**{name: [torch.tensor(list(values), dtype=torch.int64)] for name, values in roles.items()})


def test_leakage__none_where_samples_differ():
    leakage = find_leakage(of([7, 8]), None, {"a": record([1, 2]), "b": record([3])})
    assert not leakage.problems()
    assert not leakage.warnings()
    refuse_leakage(leakage, allow=False)


def test_leakage__names_the_base_and_the_count():
    leakage = find_leakage(of([1, 2, 7, 7]), None, {"a": record([1, 2]), "b": record([7]), "c": record([9])})
    assert leakage.fitted == {"a": 2, "b": 2}
    with pytest.raises(LeakageError, match="a was fitted on 2 of the meta-training samples; b was fitted on 2 .*"):
        refuse_leakage(leakage, allow=False)
    refuse_leakage(leakage, allow=True)


def test_leakage__selection_is_a_warning():
    leakage = find_leakage(of([5]), None, {"a": record([1], selected=[5])})
    refuse_leakage(leakage, allow=False)
    assert leakage.warnings() == ["a was selected on 1 meta-training samples"]


def test_leakage__unknown_images_are_refused_and_allowed_by_an_option_of_their_own():
    known = record([1])
    bases = {"a": known.union(Provenance.of(unknown=["x.safetensors"])), "b": known}
    leakage = find_leakage(of([5]), None, bases)
    with pytest.raises(LeakageError, match=r"a was fitted on unknown images: x\.safetensors: .* option allow_unknown"):
        refuse_leakage(leakage, allow=False)
    refuse_leakage(leakage, allow=False, allow_unknown=True)
    refuse_leakage(leakage, allow=True)
    assert leakage.plain() == {
        "allowed": [],
        "unknown": ["a was fitted on unknown images: x.safetensors"],
        "warnings": [],
    }


def test_leakage__allowing_unknown_images_allows_no_overlap():
    with pytest.raises(LeakageError, match="a was fitted on 1 of the meta-training samples"):
        refuse_leakage(find_leakage(of([1]), None, {"a": record([1])}), allow=False, allow_unknown=True)


def test_leakage__a_stack_from_before_says_that_bases_have_no_record():
    assert Leakage(unknown=["a"]).unknown_images() == ["a was fitted on unknown images: its own checkpoint"]


def test_leakage__validating_on_fitted_samples_is_a_warning():
    leakage = find_leakage(of([5]), of([1, 2]), {"a": record([2])})
    refuse_leakage(leakage, allow=False)
    assert leakage.warnings() == ["a was fitted on 1 of the samples that the stack is validated on"]


def test_leakage__other_samples_of_a_group_are_refused_and_told_apart():
    # samples 1 to 4 of the groups 10, 20, 20, 30; the base knows sample 1, and another one of group 20
    bases = {"a": record([1, 9], fitted_groups=[10, 20])}
    leakage = find_leakage(of([1, 2, 3, 4], [10, 20, 20, 30]), None, bases)
    assert (leakage.fitted, leakage.fitted_groups) == ({"a": 1}, {"a": 2})
    with pytest.raises(
        LeakageError,
        match="a was fitted on 1 of the meta-training samples; a was fitted on other samples of the groups of 2 meta",
    ):
        refuse_leakage(leakage, allow=False)


def test_leakage__groups_of_other_roles_are_warnings():
    bases = {"a": record(selected_groups=[10], calibrated=[2], calibrated_groups=[20], fitted_groups=[40])}
    leakage = find_leakage(of([1, 2, 3], [10, 20, 20]), of([4, 5], [30, 40]), bases)
    refuse_leakage(leakage, allow=False)
    assert leakage.warnings() == [
        "a was selected on other samples of the groups of 1 meta-training samples",
        "a was calibrated on 1 meta-training samples",
        "a was calibrated on other samples of the groups of 1 meta-training samples",
        "a was fitted on other samples of the groups of 1 of the samples that the stack is validated on",
    ]


@pytest.mark.parametrize(
    ("samples", "base", "sides"),
    [
        (of([1]), record([2], fitted_groups=[10]), "had groups, and the stack's has none"),
        (of([1], [10]), record([2]), "had no groups, and the stack's has some"),
    ],
)
def test_leakage__groups_on_one_side_alone_are_refused(samples, base, sides):
    leakage = find_leakage(samples, None, {"a": base})
    assert leakage.plain()["unknown"] == [f"a was fitted on unknown groups: the data that it was trained on {sides}"]
    with pytest.raises(LeakageError, match="give all data its groups, or set the option allow_unknown true"):
        refuse_leakage(leakage, allow=False)
    refuse_leakage(leakage, allow=False, allow_unknown=True)
    assert leakage_mark({"leakage": leakage.plain()}) == " — FITTED ON UNKNOWN IMAGES: a"


def test_leakage__groups_in_another_case_are_the_same():
    base = Provenance.of_columns("fitted", of([2], [10], group_forms=[77]))
    assert find_leakage(of([1], [11], group_forms=[77]), None, {"a": base}).fitted_groups == {"a": 1}
    # the record of an earlier version has one form alone
    assert find_leakage(of([1], [10], group_forms=[77]), None, {"a": record([2], fitted_groups=[10])}).fitted_groups


def test_leakage__near_copies_are_told_and_refused_by_option():
    looks = torch.randint(1, 2**62, (50,), generator=torch.Generator().manual_seed(0))
    base = Provenance.of_columns("fitted", of(range(50), looks=looks))
    samples = of([1, 100, 101, 102], looks=[int(looks[1]), int(looks[2]) ^ 5, 0, 12345])
    leakage = find_leakage(samples, None, {"a": base})
    assert (leakage.fitted, leakage.near, leakage.examples) == ({"a": 1}, {"a": 1}, {"a": ["1.png"]})
    told = "a was fitted on images that 1 of the meta-training samples look like, probably copies: 1.png"
    assert leakage.warnings() == [told]
    refuse_leakage(replace(leakage, fitted={}), allow=False)
    with pytest.raises(LeakageError, match=f"{told}: look at them.* near_copies tell"):
        refuse_leakage(replace(leakage, fitted={}), allow=False, near=True)


def test_leave_out__few_leaked_samples_and_refuse_many():
    looks = torch.randint(1, 2**62, (90,), generator=torch.Generator().manual_seed(0))
    first = Provenance.of_columns("fitted", of(range(90), range(200, 290), looks=looks))
    bases = {"a": first, "b": record([100], fitted_groups=[7])}
    near = torch.cat([torch.zeros(90, dtype=torch.int64), looks[:3] ^ 3, torch.zeros(7, dtype=torch.int64)])
    samples = of(range(88, 188), range(100), looks=near)
    kept, (note,) = leave_out_leaked(samples, bases, near=False, allow=False)
    # two by key of the first base, one by key and one by group of the second
    assert len(kept) == 96
    assert note == "4 of 100 meta-training samples are left out: members were fitted on them or their groups"
    assert not find_leakage(kept, None, bases).problems()
    assert len(leave_out_leaked(samples, bases, near=True, allow=False)[0]) == 93
    with pytest.raises(LeakageError, match="2 of 5 .* leaked_samples drop leaves out a tenth at most"):
        leave_out_leaked(samples.subset(range(5)), bases, near=False, allow=False)
    assert leave_out_leaked(samples.subset(range(5)), bases, near=False, allow=True)[1] == []
    assert leave_out_leaked(kept, bases, near=False, allow=False) == (kept, [])


def test_join__adds_up_folds():
    parts = [Leakage({"a": 1}, unknown=["b"]), Leakage({"a": 2, "c": 3}, {"a": 1}, unknown=["b"]), Leakage()]
    assert join_leakage(parts) == Leakage({"a": 3, "c": 3}, {"a": 1}, unknown=["b"])
    assert join_leakage([]) == Leakage()
    told = [Leakage(near={"a": 1}, examples={"a": [name]}, ungrouped={"a": ["x"]}, notes=["n"]) for name in "pq"]
    both = Leakage(near={"a": 2}, examples={"a": ["p", "q"]}, ungrouped={"a": ["x"]}, notes=["n"])
    assert join_leakage(told) == both


def test_leakage__a_copy_is_known_by_its_pixels_or_by_its_bytes():
    bases = {"new": record([1, 2], fitted_pixels=[11, 12]), "old": record([1])}
    samples = of([1, 7, 8], pixels=[11, 12, 18])
    assert find_leakage(samples, None, bases).fitted == {"new": 2, "old": 1}
