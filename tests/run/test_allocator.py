"""Training keeps its memory; importing changes nothing."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from dreamer_plugin.run import allocator

# Page faults of twenty large temporaries, after a few have grown the heap.
PROGRAM = """
import resource
import torch
from dreamer_plugin.run import allocator
{call}
torch.set_num_threads(1)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
before = faults()
for _ in range(20):
    torch.ones(2**24)
print(faults() - before)
"""


def page_faults(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(allocator.allocator() != "glibc", reason="a setting of glibc")
def test_kept_memory_is_not_fetched_again():
    default, kept = page_faults(""), page_faults("assert allocator.keep_memory()")
    assert kept * 10 < default


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not allocator.keep_memory()


@pytest.mark.skipif(allocator.allocator() != "glibc", reason="has taken its place")
def test_an_allocator_that_was_loaded_first_is_named_and_left_alone(monkeypatch, tmp_path):
    assert allocator.allocator() == "glibc"
    maps = tmp_path / "maps"  # a line as of proc(5)
    maps.write_text("7f01-7f02 r-xp 0000 fe:01 77 /usr/lib/libtcmalloc_minimal.so.4.5.10\n")
    monkeypatch.setattr(allocator, "_MAPS", maps)
    assert allocator.allocator() == "tcmalloc"
    assert not allocator.keep_memory()
