import pytest
import torch
from torch import nn

from ensembling.folds import meta_folds
from ensembling.heads.fitting import (
    GreedyHead,
    LogisticHead,
    MeanHead,
    MLPHead,
    TunedMeanHead,
    VoteHead,
    cross_fit,
    fit_head,
    head_from_plain,
    head_plain,
)
from pipelines.stack.command import parse
from records.versions import REPOSITORY
from tests.helpers.families import count
from tests.helpers.meta import meta_samples

HEADS = [
    MeanHead(),
    TunedMeanHead(),
    GreedyHead(rounds=10),
    VoteHead(),
    LogisticHead(C_count=3),
    MLPHead(hidden=[8], epochs=5),
]
CLIPPED = [
    *HEADS[:4],
    LogisticHead(C_count=2, features="log_probabilities"),
    MLPHead(features="probabilities", epochs=3),
]


def test_mlp_head__parameters():
    assert count(MLPHead(hidden=[128, 128], dropout=0.3).build(3, 10)) == 21_770


def test_mlp_head__is_not_solved():
    head = MLPHead()
    with pytest.raises(TypeError, match="trained in epochs"):
        head.solve(head.build(2, 2), torch.zeros(1, 2, 2), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (LogisticHead, {"C": 0.0}),
        (LogisticHead, {"max_iterations": 0}),
        (LogisticHead, {"C_min": 2.0, "C_max": 1.0}),
        (LogisticHead, {"folds": 1}),
        (MLPHead, {"dropout": 1.0}),
        (MLPHead, {"held_share": 0.0}),
        (MLPHead, {"epochs": 0}),
        (MLPHead, {"dropout": [0.3]}),
        (MLPHead, {"dropout": [0.3, 1.0]}),
        (MLPHead, {"clip": 0.0}),
    ],
)
def test_heads__impossible_options_are_named(head, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        head(**options)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_fit_head__same_seed_same_module(head):
    logits, labels = meta_samples()
    state = torch.get_rng_state()
    first, second = (fit_head(head, logits, labels, 4, seed=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert not first.training
    assert torch.equal(first(logits), second(logits))
    assert first(logits).shape == (300, 4)
    # all that was fitted is in the state dict
    again = head_from_plain(head_plain(head)).build(3, 4).eval()
    again.load_state_dict(first.state_dict())
    assert torch.equal(first(logits), again(logits))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_cross_fit__pools_each_sample_by_a_head_fitted_without_it(head):
    logits, labels = meta_samples(samples=90)
    pooled = cross_fit(head, logits, labels, 4, folds=3, seed=1)
    held = meta_folds(labels, 3, 1) == 0
    expected = fit_head(head, logits[~held], labels[~held], 4, seed=1)(logits[held])
    assert torch.allclose(pooled[held], expected, atol=1e-5)


def test_cross_fit__groups_are_held_out_whole():
    logits, labels = meta_samples(samples=60)
    groups = torch.arange(60) // 4
    held = meta_folds(labels, 5, 0, groups) == 0
    pooled = cross_fit(TunedMeanHead(), logits, labels, 4, groups=groups)
    expected = fit_head(TunedMeanHead(), logits[~held], labels[~held], 4)(logits[held])
    assert torch.allclose(pooled[held], expected, atol=1e-6)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
@pytest.mark.parametrize("case", ["single base", "equal bases", "absent class", "one of a class", "separable", "huge"])
def test_fit_head__edges(head, case):
    logits, labels = meta_samples(samples=80)
    if case == "single base":
        logits = logits[:, :1]
    elif case == "equal bases":
        logits = logits[:, :1].repeat(1, 3, 1)
    elif case == "absent class":
        logits, labels = logits[labels < 3], labels[labels < 3]
    elif case == "one of a class":
        kept = (labels < 3) | (torch.arange(80) == 3)
        logits, labels = logits[kept], labels[kept]
    elif case == "separable":
        logits = torch.nn.functional.one_hot(labels, 4)[:, None].float().repeat(1, 3, 1) * 20
    else:
        logits = logits * 1e4
    assert cross_fit(head, logits, labels, 4, folds=2).isfinite().all()
    module = fit_head(head, logits, labels, 4)
    assert module(logits).isfinite().all()
    if case == "separable" and head.solved:
        assert (module(logits).argmax(1) == labels).all()


@pytest.mark.parametrize("head", CLIPPED, ids=lambda head: head.name)
def test_fit_head__a_base_that_misses_a_class(head):
    logits, labels = meta_samples(samples=80)
    logits[:, 1, 2] = -torch.inf
    assert cross_fit(head, logits, labels, 4).isfinite().all()


@pytest.mark.parametrize("head", [LogisticHead(), MLPHead()], ids=lambda head: head.name)
def test_fit_head__a_base_that_misses_a_class_has_no_such_logit(head):
    logits, labels = meta_samples(samples=80)
    logits[:, 1, 2] = -torch.inf
    with pytest.raises(ValueError, match="member number 2 .* give the head the features log_probabilities"):
        fit_head(head, logits, labels, 4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_fit_head__what_is_no_number_is_refused(head, value):
    logits, labels = meta_samples(samples=80)
    logits[5, 1, 2] = value
    with pytest.raises(ValueError, match="member number 2 gives logits that are not finite"):
        fit_head(head, logits, labels, 4)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2).long(), "shape"),
        (torch.zeros(2, 1, 5), torch.zeros(2).long(), "shape"),
        (torch.zeros(0, 1, 4), torch.zeros(0).long(), "no samples"),
        (torch.zeros(2, 1, 4), torch.tensor([0, 4]), "labels must be from 0 to 3"),
        (torch.zeros(2, 1, 4), torch.zeros(3).long(), "labels of shape"),
    ],
)
def test_fit_head__samples_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_head(MeanHead(), logits, labels, 4)


def test_mlp_head__keeps_the_best_epoch():
    logits, labels = meta_samples(samples=200)
    # so long and fast that its end is far worse than its best
    module = fit_head(MLPHead(hidden=[64], dropout=0.0, epochs=60, patience=60, learning_rate=0.03), logits, labels, 4)
    held = meta_folds(labels, 10, 0, lower=False) == 0
    nll = torch.nn.functional.cross_entropy(module(logits[held]), labels[held])
    assert nll < torch.nn.functional.cross_entropy(logits[held].mean(1), labels[held]) + 0.2


NOTEBOOK = REPOSITORY / "configs/head/notebook_mlp.yaml"


def test_mlp_head__of_a_notebook_is_a_plain_loop():
    logits, labels = meta_samples(samples=300, num_classes=10)
    (head,) = parse(["--config", str(REPOSITORY / "configs/stack/digits.yaml"), "--config", str(NOTEBOOK)]).heads
    module = fit_head(head, logits, labels, 10, seed=3)
    torch.manual_seed(3)
    layers = nn.Sequential(
        *(nn.Linear(30, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    )
    torch.manual_seed(3)
    optimizer, order = torch.optim.Adam(layers.parameters(), lr=1e-3), torch.Generator().manual_seed(3)
    for _ in range(10):
        for rows in torch.randperm(300, generator=order).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layers(logits[rows].flatten(1)), labels[rows]).backward()
            norm = torch.stack([p.grad.norm() for p in layers.parameters()]).norm()
            for parameter in layers.parameters():
                parameter.grad *= min(1.0, 2.0 / (float(norm) + 1e-6))
            optimizer.step()
    with torch.no_grad():
        torch.testing.assert_close(module(logits), layers.eval()(logits.flatten(1)), rtol=1e-4, atol=1e-4)
    assert count(module) == 21_770
    assert head_from_plain(head_plain(head)).dropouts == [0.3, 0.0]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_mlp_head__clips_what_an_optimizer_is_given(optimizer, monkeypatch):
    logits, labels = meta_samples(samples=80)
    norms, clip = [], nn.utils.clip_grad_norm_

    def note(parameters, largest):
        kept = list(parameters)
        clip(kept, largest)
        norms.append(float(torch.stack([p.grad.norm() for p in kept]).norm()))

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", note)
    fit_head(MLPHead(hidden=[8], optimizer=optimizer, clip=1e-3, epochs=2), logits, labels, 4)
    assert norms
    assert max(norms) <= 1e-3 * (1 + 1e-4)


def test_mlp_head__of_earlier_versions_is_read():
    plain = head_plain(MLPHead(hidden=[8]))
    for option in ("optimizer", "clip", "schedule", "standardize"):
        del plain["init_args"][option]
    assert head_from_plain(plain).optimizer == "adamw"


@pytest.mark.parametrize("plain", [{"class_path": "torch.nn.Linear"}, {"class_path": "ensembling.heads.fitting.No"}])
def test_head_from_plain__what_is_no_head_is_refused(plain):
    with pytest.raises(ValueError, match="not a head|not installed"):
        head_from_plain({**plain, "init_args": {}})


def test_head_plain__is_what_a_config_says():
    assert head_plain(GreedyHead(rounds=7)) == {
        "class_path": "ensembling.heads.GreedyHead",
        "init_args": {"rounds": 7, "metric": "nll"},
    }
