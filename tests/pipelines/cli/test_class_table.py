import io

import torch
from rich.console import Console
from sklearn.metrics import precision_recall_fscore_support

from pipelines.cli.class_table import class_table


def rows(predictions, names):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(class_table(predictions, names))
    lines = console.export_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line[:1] == "┏")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line[:1] == "│"]
    return " ".join(" ".join(lines[:first]).split()), cells


def random_predictions(classes):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4 * classes) % classes
    return {"test/label": labels, "test/logits": torch.randn(len(labels), classes, generator=generator)}


def test_table__precision_recall_f1_and_support():
    predictions, names = random_predictions(3), ["_background_", "[red]", "caf\udce9"]
    title, found = rows(predictions, names)
    assert title == "test split by class"
    scores = precision_recall_fscore_support(predictions["test/label"], predictions["test/logits"].argmax(1))
    for number, (name, *cells) in enumerate(found):
        assert name == ["_background_", "[red]", "caf\ufffd"][number]
        assert cells == [*(f"{column[number]:.4f}" for column in scores[:3]), str(scores[3][number])]


def test_table__of_many_classes_the_worst():
    title, found = rows(random_predictions(50), [str(number) for number in range(50)])
    assert title == "test split by class: the 20 of lowest F1 of 50 classes"
    assert [float(row[3]) for row in found] == sorted(float(row[3]) for row in found)
    assert len(found) == 20
