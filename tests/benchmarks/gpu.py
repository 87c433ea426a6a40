"""How fast `activate` and `segment` are by batch, precision, readers, and how busy the GPU is.

Run from the root of the repository: `python -m tests.benchmarks.gpu`. Without a GPU it measures
the CPU, which needs smaller numbers: `--size-px 2048 --batch 4 --precision float32 --readers 1`.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from wsipsm import compute

compute.one_thread_each()
compute.keep_memory()

import click  # noqa: E402
import torch  # noqa: E402

from tests.benchmarks.slides import large_slide  # noqa: E402
from wsipsm.activation.activate import activate  # noqa: E402
from wsipsm.config import (  # noqa: E402
    Activation,
    Inference,
    Pretraining,
    Pseudomasks,
    Tiling,
    Training,
)
from wsipsm.inference.segment import segment  # noqa: E402
from wsipsm.io.tiles import open_tiles  # noqa: E402
from wsipsm.phantom.phantom import draw_slides  # noqa: E402
from wsipsm.pretraining.pretrain import pretrain  # noqa: E402
from wsipsm.pseudomasks.pseudomask import pseudomask  # noqa: E402
from wsipsm.tiling.tile import tile  # noqa: E402
from wsipsm.training.train import train  # noqa: E402

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    """A stage, and how it is run: tiles at once (0: as many as fit), numbers, threads that read."""

    stage: str
    batch: int
    precision: str
    readers: int


@click.command()
@click.option("--size-px", default=16384, show_default=True, help="side of the slide")
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 4, 16, 64, 0))
@click.option("--precision", "precisions", multiple=True, default=tuple(PRECISIONS))
@click.option("--readers", type=int, multiple=True, default=(1, 2, 4, 8, 16))
@click.option("--unet", default="small", show_default=True, help="training.backbone")
def main(
    size_px: int,
    batches: tuple[int, ...],
    precisions: tuple[str, ...],
    readers: tuple[int, ...],
    unet: str,
) -> None:
    """Print tiles a second: by batch and precision with most readers, then by readers alone."""
    device = compute.device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        stages, tiles = prepare(Path(folder), size_px=size_px, unet=unet)
        click.echo(f"{name}, PyTorch {torch.__version__}, {tiles} tiles\n")
        click.echo("| stage | batch | precision | readers | tiles/s | busy, % | GPU, MB |")
        click.echo("| --- | --: | --- | --: | --: | --: | --: |")
        for stage, run in stages.items():
            first = [Case(stage, b, p, max(readers)) for p in precisions for b in batches]
            then = [Case(stage, batches[-1], precisions[-1], n) for n in readers[:-1]]
            run(first[0], Path(folder) / "unused")  # the first call of a GPU takes seconds more
            for case in first + then:
                seconds, busy, memory = measured(run, case, Path(folder) / "product")
                at_once = case.batch or "fitting"
                click.echo(
                    f"| {case.stage} | {at_once} | {case.precision} | {case.readers}"
                    f" | {tiles / seconds:.1f} | {busy} | {memory} |"
                )


def prepare(
    folder: Path, *, size_px: int, unet: str
) -> tuple[dict[str, Callable[[Case, Path], None]], int]:
    """Stages to run on a drawn slide, by models trained for some steps; and its number of tiles."""
    slide, tiles, first = folder / "tiles.zarr", folder / "small.zarr", folder / "activation.zarr"
    encoder, model, masks = (folder / name for name in ("encoder.pt", "unet.pt", "masks.zarr"))
    tile(large_slide(folder, size_px=size_px), slide, settings=Tiling())
    drawn = draw_slides(folder / "lesson", count=1, size_px=1024, mpp=0.25, stain="he", seed=0)
    tile(drawn[0], tiles, settings=Tiling())
    pretrain([tiles], encoder, settings=Pretraining(steps=2), seed=0)
    activate(tiles, encoder, first, settings=Activation())
    pseudomask(tiles, first, masks, settings=Pseudomasks(), seed=0)
    lesson = Training(rounds=1, steps=60, batch=4, regions=16, backbone=unet)
    train([(tiles, masks)], model, model="unet", settings=lesson, seed=0)

    def run_activate(case: Case, target: Path) -> None:
        with computing(case):
            activate(slide, encoder, target, settings=Activation(), workers=case.readers)

    def run_segment(case: Case, target: Path) -> None:
        settings = Inference(batch=case.batch or Inference().batch)
        with computing(case):
            segment(slide, model, target, settings=settings, workers=case.readers)

    count = len(open_tiles(slide).kept_tiles())
    return {"activate": run_activate, "segment": run_segment}, count


@contextlib.contextmanager
def computing(case: Case) -> Iterator[None]:
    """Let the stages take batches of one size, and compute in one kind of number."""
    kind, dtype = torch.autocast, PRECISIONS[case.precision]

    def autocast(device: str, *_: Any, **__: Any) -> torch.autocast:
        return kind(device, dtype or torch.bfloat16, enabled=dtype is not None)

    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.object(torch, "autocast", autocast))
        if case.batch:
            changed.enter_context(mock.patch("wsipsm.batches.MOST", case.batch))
            changed.enter_context(mock.patch("wsipsm.activation.activate.BATCH", case.batch))
        yield


def measured(
    run: Callable[[Case, Path], None], case: Case, target: Path
) -> tuple[float, str, int | str]:
    """Seconds of a stage, the share of busy time that its log gives, and the GPU's peak memory."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    log, began = io.StringIO(), time.monotonic()
    with contextlib.redirect_stderr(log):
        run(case, target)
    seconds = time.monotonic() - began
    shutil.rmtree(target)
    memory = torch.cuda.max_memory_allocated() // 2**20 if on_gpu else "-"
    return seconds, re.findall(r"busy (\d+) %", log.getvalue())[-1], memory


if __name__ == "__main__":
    main()
