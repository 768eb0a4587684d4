import pytest
import torch

from common.gather import gather_by_id
from tests.helpers.warm import warm_context


def test_gather__sorts_by_id():
    gathered = gather_by_id({"id": torch.tensor([3, 1, 2]), "logits": torch.tensor([[3.0], [1.0], [2.0]])})
    assert gathered["id"].tolist() == [1, 2, 3]
    assert gathered["logits"].flatten().tolist() == [1.0, 2.0, 3.0]


def test_gather__a_repeated_id_is_an_error():
    with pytest.raises(ValueError, match=r"1 sample id\(s\) came more than once, the first is 7"):
        gather_by_id({"id": torch.tensor([7, 1, 7])})


def _in_process(rank, file, queue):
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    # uneven: 3 rows on the one, 1 on the other
    ids = torch.tensor([4, 0, 2] if rank == 0 else [1])
    queue.put((rank, gather_by_id({"id": ids, "logits": ids[:, None].float() * 10})["logits"].flatten().tolist()))
    torch.distributed.destroy_process_group()


def test_gather__uneven_processes_each_get_the_whole(tmp_path):
    context = warm_context()
    queue = context.SimpleQueue()
    processes = [context.Process(target=_in_process, args=(rank, tmp_path / "store", queue)) for rank in (0, 1)]
    for process in processes:
        process.start()
    results = dict(queue.get() for _ in processes)
    for process in processes:
        process.join(60)
    assert results == {0: [0.0, 10.0, 20.0, 40.0], 1: [0.0, 10.0, 20.0, 40.0]}
