"""Batches: order, halving where the memory of a GPU ends, reading ahead, busy share."""

import threading

import pytest
import torch

from wsipsm.batches import Batches
from wsipsm.errors import WsipsmError

CPU, META = torch.device("cpu"), torch.device("meta")


class Device:
    """A device with room for so many tiles, and a memory of what it was asked."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def __call__(self, tiles: list[int]) -> list[int]:
        self.asked.append(len(tiles))
        if len(tiles) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [tile * tile for tile in tiles]


@pytest.mark.parametrize("device", [CPU, META])
@pytest.mark.parametrize("room", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_no_item_is_lost_and_none_done_twice(device: torch.device, room: int, count: int) -> None:
    run = Device(room)
    batches = Batches(list, run, 8, device)
    found = list(batches.over(list(range(count))))
    assert [tile for tiles, _, _ in found for tile in tiles] == list(range(count))
    assert [made for _, _, out in found for made in out] == [n * n for n in range(count)]
    assert sum(size for size in run.asked if size <= room) == count


def test_where_memory_ended_once_the_next_batches_are_as_small(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Device(3)
    batches = Batches(list, run, 8, CPU)
    list(batches.over(range(8)))
    assert run.asked == [8, 4, 2, 2, 2, 2]
    assert "the memory of the GPU ended: 2 tiles at once now" in capsys.readouterr().err


def test_no_memory_for_one_tile_is_one_sentence() -> None:
    with pytest.raises(WsipsmError, match="no memory for one tile; use smaller tiles"):
        list(Batches(list, Device(0), 4, CPU).over(range(4)))


def test_the_next_batch_is_read_while_this_one_is_computed() -> None:
    read = [threading.Event() for _ in range(3)]

    def note(tiles: list[int]) -> list[int]:
        read[tiles[0]].set()
        return tiles

    def compute(tiles: list[int]) -> bool:
        return tiles[0] == 2 or read[tiles[0] + 1].wait(10)

    batches = Batches(note, compute, 1, META)
    assert all(made for _, _, made in batches.over([0, 1, 2]))


def test_an_error_of_reading_is_raised() -> None:
    def read(tiles: list[int]) -> list[int]:
        return [1 // (2 - tile) for tile in tiles]

    for device in (CPU, META):
        with pytest.raises(ZeroDivisionError):
            list(Batches(read, list, 1, device).over([0, 1, 2, 3]))
