import torch
from sklearn.metrics import accuracy_score, f1_score

from measures import by_source
from measures.by_source import by_source_names, pair_decisions, pair_rows, source_entries


def predictions():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    logits = torch.randn(90, 3, generator=generator) + torch.nn.functional.one_hot(labels, 3)
    return logits, labels, torch.arange(90) // 5 % 2


def test_pair_decisions__match_scikit_learn():
    logits, labels, sources = predictions()
    decided = logits.argmax(1)
    found = pair_decisions(decided, labels, sources, list("xyz"), ["a", "b"])
    for label, name in enumerate("xyz"):
        taken = ((labels == label) & (sources == 0)) | ((labels != label) & (sources == 1))
        true, said = labels[taken] == label, decided[taken] == label
        assert abs(found["f1"][name]["a"]["b"] - f1_score(true, said)) < 1e-12
        assert abs(found["accuracy"][name]["a"]["b"] - accuracy_score(true, said)) < 1e-12


def test_pair_decisions__nothing_to_compare():
    found = pair_decisions(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 1]), ["x", "y"], ["a", "b"])
    assert found["f1"]["x"] == {"a": {"a": None, "b": 1.0}, "b": {"a": None, "b": None}}


def test_source_entries__all_that_result_json_names(monkeypatch):
    entries = source_entries("val", *predictions(), list("xyz"), ["a", "b"])
    assert tuple(entries) == by_source_names("val")
    rows = pair_rows(entries, "val")
    assert len(rows) == 12
    assert all(set(values) == {"auroc", "f1", "accuracy"} for *_, values in rows)
    monkeypatch.setattr(by_source, "PAIRS_LIMIT", 1)
    assert tuple(source_entries("val", *predictions(), list("xyz"), ["a", "b"])) == ("val_by_source",)


def test_pair_rows__of_an_earlier_version_and_of_a_strange_file():
    assert pair_rows({"test_source_pairs": {"x": {"a": {"b": 0.5, "c": None}}}}, "test") == [
        ("x", "a", "b", {"auroc": 0.5}),
        ("x", "a", "c", {"auroc": None}),
    ]
    assert pair_rows({"test_source_pairs": {"x": 3, "y": {"a": [1]}}, "test_source_pairs_f1": 5}, "test") == []
