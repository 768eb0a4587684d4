from pipelines.cells import tested
from pipelines.cells.cell import Cell


def test_test_command__is_computed_as_the_fit_is(tmp_path):
    cell = Cell("a", "a", ("gpu.yaml",), {"trainer.devices": 2, "model.dropout": 0.5})
    given = {"trainer.precision": "bf16-mixed", "trainer.devices": 1, "trainer.max_epochs": 3, "model.dropout": 0.5}
    words = tested.test_command(cell, tmp_path, given)
    assert words[:3] == ("test", "--ckpt_path", str(tmp_path / "a"))
    assert set(words[3:]) == {"--trainer.precision=bf16-mixed", "--trainer.devices=2", "--figures.draw=false"}


def test_drawn__leaves_the_users_choice():
    assert tested.drawn({"figures.draw": True}) == []
    assert tested.drawn({}) == ["--figures.draw=false"]
