import platform
import resource

import pytest
import torch

from engine.allocator import keep_large_blocks


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_keep_large_blocks__freed_memory_is_used_again():
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        # 64 MB, above what glibc keeps by itself
        torch.empty(16 * 2**20).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_large_blocks()
    # the heap takes some blocks to settle; by default each of them would be mapped anew, at 16,384 faults
    assert min(faults() for _ in range(30)) < 100


def test_keep_large_blocks__elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not keep_large_blocks()
