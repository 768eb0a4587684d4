import json
import multiprocessing
import os

import pytest
import torch

from records.ledger import Looks, add_look, append_line, count_looks, looks_in, model_key, read_looks


def look(folder, *keys, also=()):
    return add_look(folder, "f00d", "test", "x/run", {f"model {key}": key for key in keys}, also, samples=10)


def test_add_look__counts_new_models_and_lists_repeated_ones(tmp_path):
    assert look(tmp_path, "a") == Looks(1, 1, 0)
    assert look(tmp_path, "b") == Looks(2, 2, 0)
    assert look(tmp_path, "a") == Looks(2, 2, 1)
    # a stack over known members brings heads that are new: one look at two more models
    assert look(tmp_path, "a", "b", "c", "d", also=["file of d"]) == Looks(3, 4, 1)
    assert look(tmp_path, "file of d") == Looks(3, 4, 2)
    lines = [json.loads(line) for line in (tmp_path / "f00d.jsonl").read_text().splitlines()]
    assert [line["command"] for line in lines] == ["test"] * 5
    assert lines[0]["models"] == {"model a": "a"}
    assert lines[0]["samples"] == 10
    assert read_looks([tmp_path], "f00d") == Looks(3, 4, 2)
    assert read_looks([tmp_path], "another") is None


def test_add_look__each_split_has_its_own_ledger(tmp_path):
    look(tmp_path, "a")
    assert add_look(tmp_path, "beef", "test", "x/run", {"model": "a"}) == Looks(1, 1, 0)


def _looks(folder, worker, barrier, found):
    barrier.wait()
    found.put([look(folder, f"{worker} {number}").number for number in range(25)])


def test_add_look__many_processes_at_once_lose_none_and_number_none_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_looks, args=(tmp_path, number, barrier, found)) for number in range(4)]
    for worker in workers:
        worker.start()
    numbers = [number for _ in workers for number in found.get(timeout=60)]
    for worker in workers:
        worker.join(60)
    assert sorted(numbers) == list(range(1, 101))


def test_add_look__a_full_disk_is_told_and_ends_nothing(tmp_path, monkeypatch):
    look(tmp_path, "a")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:20]))
    with pytest.warns(UserWarning, match="could not be written down"):
        assert look(tmp_path, "b") is None
    monkeypatch.undo()
    # the half line was a look too, and does not spoil the next one
    assert look(tmp_path, "c") == Looks(3, 2, 0, 1)


def test_add_look__a_root_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="later counts leave it out"):
        assert look(tmp_path / "file" / ".ledger", "a") is None


def test_append_line__keeps_what_is_there(tmp_path):
    (tmp_path / "x").write_text("half a li")
    append_line(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "half a li\nwhole\n"


@pytest.mark.parametrize("line", ["[]", "{}", '{"models": {}', '{"models": [], "also": []}', "\0\0"])
def test_count_looks__an_unreadable_line_counts(line):
    assert count_looks(['{"models": {"m": "a"}, "also": []}', line, ""]) == Looks(2, 1, 0, 1)


def test_looks__say_how_many_and_what_that_does():
    assert Looks(1, 1, 0).sentence == "look 1 at this test split (1 model so far)"
    assert Looks(1, 1, 4).note == ""
    told = Looks(14, 31, 2, 1)
    assert told.sentence == (
        "look 14 at this test split (31 models so far, 2 repeated, not counted, 1 unreadable in the ledger, counted)"
    )
    assert "too high" in told.note
    assert looks_in(json.loads(json.dumps(told.plain()))) == told
    assert looks_in({"number": "many"}) is None
    assert looks_in(None) is None


def test_model_key__is_of_content_alone():
    state = {"a": torch.arange(3.0), "b": torch.tensor(2)}
    key = model_key(state, {"tta": "none"})
    assert model_key(dict(reversed(state.items())), {"tta": "none"}) == key
    assert model_key({"_orig_mod.a": state["a"].clone(), "b": state["b"]}, {"tta": "none"}) == key
    assert model_key({**state, "a": torch.tensor([0.0, 1.0, 2.5])}, {"tta": "none"}) != key
    assert model_key(state, {"tta": "flip"}) != key
    # every type has bytes
    model_key({"half": torch.zeros(2, dtype=torch.bfloat16)})
