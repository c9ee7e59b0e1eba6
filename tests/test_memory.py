import platform
import resource

import pytest
import torch

from clsgan import memory
from clsgan.memory import kept_memory

on_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told"
)


def faults_of_big_blocks():
    """Page faults of ten rounds of two blocks of 48 MiB, written and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [torch.ones(48 * 2**20, dtype=torch.uint8) for _ in range(2)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@on_glibc
def test_big_blocks_are_got_once():
    outside = faults_of_big_blocks()
    with kept_memory():
        faults_of_big_blocks()
        inside = faults_of_big_blocks()
    assert inside < outside / 10


@on_glibc
def test_memory_is_handed_back():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    with kept_memory():
        before = resident()
        block = torch.ones(256 * 2**20, dtype=torch.uint8)
        del block
        held = resident() - before
    assert held > 200 * 2**20
    assert resident() - before < 50 * 2**20


@on_glibc
def test_handed_back_after_an_error():
    with pytest.raises(KeyError), kept_memory():
        raise KeyError
    outside = faults_of_big_blocks()
    assert outside > 10_000


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("musl", "1"))
    with kept_memory():
        assert memory._glibc() is None
