"""What prompts and suppression cost, and models of the published sizes on the device at hand."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from segment_anything import sam_model_registry

from tests.models.sam_files import MOBILE, SMALL, published, shake, tiny_sam
from wsipsm import compute
from wsipsm.config import Prompting
from wsipsm.models.adapters import adapt
from wsipsm.models.sam import build_sam
from wsipsm.models.sam_masks import Mask, suppress
from wsipsm.models.sam_prompts import Centres, Grid
from wsipsm.models.sam_segmenter import SamSegmenter
from wsipsm.training.sam_loss import SamLoss
from wsipsm.types import Region

NUCLEI, PAIRS, SPEED_PX = 150, 200, 256
DEVICE_PX, CELLS, BATCH, REPEATS = 512, 30, 4, 5


def speed() -> None:
    """Time one point for each nucleus against the grid, and suppression against all pairs."""
    sam = build_sam(published(shake(tiny_sam(**SMALL))), input_px=SPEED_PX)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (1, 3, 704, 704), dtype=np.uint8)
    points = rng.uniform(0, 704, (NUCLEI, 2))
    known = [(points, np.ones(NUCLEI, np.uint8))]
    asked = {
        "one point a nucleus": Centres(lambda *_: known, view_px=512),
        "grid of 32 x 32, five views": Grid(side=32),
    }
    print("| asked by | points | decoder calls | seconds of CPU | peak memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    for name, prompter in asked.items():
        views = prompter(images, [])[0]
        count = sum(len(view.points) for view in views)
        calls = sum(-(-len(view.points) // 64) for view in views)
        model = SamSegmenter(sam, prompter, Prompting(), input_px=SPEED_PX, min_area_px=20)
        begin = time.process_time()
        model(images)
        spent = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"| {name} | {count:,} | {calls} | {spent:.1f} | {peak} |")
    masks = [
        Mask(Region(int(y), int(x), 24, 24), rng.random((24, 24)) < 0.7, float(score), 1)
        for y, x, score in zip(*rng.uniform(0, 1, (3, 10_000)) * [[480], [480], [1]], strict=True)
    ]
    begin = time.process_time()
    kept = suppress(masks, overlap=0.05)
    ours = time.process_time() - begin
    some = masks[:PAIRS]
    begin = time.process_time()
    wanted = by_all_pairs(some, overlap=0.05)
    theirs = (time.process_time() - begin) * (len(masks) / PAIRS) ** 2
    assert wanted == suppress(some, overlap=0.05)
    print(f"\nsuppression of 10,000 masks ({len(kept)} stay): {ours:.1f} s; matrix of all pairs:"
          f" {theirs:.0f} s (from {PAIRS}), {theirs / ours:.0f} times")  # fmt: skip


def by_all_pairs(masks: list[Mask], *, overlap: float) -> list[int]:
    """Suppression from the matrix of the overlaps of all pairs, from masks at full size."""
    dense = np.zeros((len(masks), 512, 512), bool)
    for whole, mask in zip(dense, masks, strict=True):
        whole[mask.place.slices] = mask.pixels
    flat = dense.reshape(len(masks), -1)
    shared = np.array([np.count_nonzero(flat & one, axis=1) for one in flat])
    area = np.diag(shared)
    close = shared > overlap * (area[:, None] + area[None] - shared)
    found: list[int] = []
    for index in np.argsort([-mask.score for mask in masks], kind="stable"):
        if not close[index, found].any():
            found.append(int(index))
    return found


def on_device(names: list[str]) -> None:
    """Time inference on a tile of 512 px, and a training step, of random models."""
    device = compute.device()
    print("| model | points a tile | s a tile | s a training step, 4 views | peak memory, GB |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        state = _state(name)
        sam = build_sam(state, input_px=DEVICE_PX).to(device)
        for asked, prompter in (("150", _anywhere()), ("5,120", Grid(side=32))):
            tile = _seconds(lambda s=sam, p=prompter: _segment(s, p), device)
            network = adapt(
                build_sam(state, input_px=DEVICE_PX), rank=4, alpha=4, dropout=0.1,
                parts=("encoder", "decoder"),
            ).to(device).train()  # fmt: skip
            step = _seconds(lambda n=network: _step(n, device), device)
            peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
            print(f"| {name} | {asked} | {tile:.2f} | {step:.2f} | {peak:.1f} |")


def _state(name: str) -> dict[str, torch.Tensor]:
    if name == "vit_t":
        return published(tiny_sam(**MOBILE))
    return dict(sam_model_registry[name]().state_dict())


def _anywhere() -> Centres:
    points = np.random.default_rng(0).uniform(0, DEVICE_PX, (NUCLEI, 2))
    return Centres(lambda *_: [(points, np.ones(NUCLEI, np.uint8))], view_px=DEVICE_PX)


def _segment(sam: torch.nn.Module, prompter: Centres | Grid) -> None:
    image = np.random.default_rng(1).integers(0, 255, (1, 3, DEVICE_PX, DEVICE_PX), dtype=np.uint8)
    SamSegmenter(sam, prompter, Prompting(), input_px=DEVICE_PX, min_area_px=20)(image)


def _step(network: torch.nn.Module, device: torch.device) -> None:
    rng = torch.Generator().manual_seed(0)
    side, count = DEVICE_PX // 4, CELLS + CELLS // 2
    ids = torch.cat([torch.arange(1, CELLS + 1), torch.zeros(CELLS // 2, dtype=torch.long)])
    given = (
        torch.rand(BATCH, 3, DEVICE_PX, DEVICE_PX, generator=rng) * 255,
        torch.randint(0, CELLS, (BATCH, side, side), generator=rng),
        torch.rand(BATCH, count, 2, generator=rng) * DEVICE_PX,
        torch.ones(BATCH, count, dtype=torch.long),
        ids.expand(BATCH, -1),
        torch.ones(BATCH, count),
        torch.zeros(BATCH, dtype=torch.long),
        torch.full((BATCH,), -1),
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss = SamLoss(dice=0)(network, *(part.to(device) for part in given))
    loss.backward()


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """Median time of a piece of work, after one that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))
