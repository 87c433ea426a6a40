"""What tests share: reasons to skip, the folder of real data, slides drawn once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsipsm import compute

compute.one_thread_each()

from wsipsm.config import (  # noqa: E402
    Activation,
    Inference,
    Pretraining,
    Pseudomasks,
    Stitching,
    Tiling,
    Training,
)
from wsipsm.phantom.phantom import draw_slides  # noqa: E402

REPOSITORY = Path(__file__).parents[1]
DATA = Path(os.environ.get("WSIPSM_TEST_DATA", REPOSITORY / "../shared/data")).resolve()


def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no GPU"


def _no_slurm() -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [
        n for n in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(n, path=path)
    ]
    if missing:
        return f"no SLURM: {missing[0]} is not installed"
    return None if os.geteuid() == 0 else "no SLURM: only root can start one for the tests"


def _no_data() -> str | None:
    return None if DATA.is_dir() else f"no test data: WSIPSM_TEST_DATA is not a folder ({DATA})"


def _no_browser() -> str | None:
    try:
        import axe_playwright_python  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"no browser: {error}"
    return None if shutil.which("chromium") else "no browser: chromium is not installed"


def _no_weights() -> str | None:
    file = os.environ.get("WSIPSM_SAM_CHECKPOINT")
    return None if file else "no weights: WSIPSM_SAM_CHECKPOINT names no file"


NEEDS: dict[str, Callable[[], str | None]] = {
    "gpu": _no_gpu,
    "slurm": _no_slurm,
    "browser": _no_browser,
    "real_data": _no_data,
    "real_weights": _no_weights,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole runs of the workflow: among several processes, they last longest."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test, with its reason, where it cannot run; begin the others with one seed."""
    import torch

    for marker, reason in NEEDS.items():
        if item.get_closest_marker(marker) and (why := reason()):
            pytest.skip(why)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real test data; only for tests marked `real_data`."""
    return DATA


@pytest.fixture(scope="session")
def drawn_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with phantom_1 and phantom_2, H&E, 1024 px at 0.25 microns per pixel, and truth."""
    folder = tmp_path_factory.mktemp("slides")
    draw_slides(folder, count=2, size_px=1024, mpp=0.25, stain="he", seed=0)
    return folder


@dataclass(frozen=True)
class Products:
    """Products of stages 1 to 7 for one drawn slide; tests only read them."""

    folder: Path
    slide: Path
    tiling: Tiling
    pretraining: Pretraining
    training: Training

    def __getattr__(self, name: str) -> Path:
        names = {"encoder": "encoder.pt", "unet": "unet.pt", "cells": "cells.parquet"}
        return self.folder / names.get(name, name if name == "tile_cells" else f"{name}.zarr")


@pytest.fixture(scope="session")
def products(drawn_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Products:
    """Every product of one drawn slide of 1024 px, at 0.5 microns, by models trained briefly."""
    from wsipsm.activation.activate import activate
    from wsipsm.inference.segment import segment
    from wsipsm.pretraining.pretrain import pretrain
    from wsipsm.pseudomasks.pseudomask import pseudomask
    from wsipsm.stitching.stitch import stitch
    from wsipsm.tiling.tile import tile
    from wsipsm.training.train import train

    made = Products(
        tmp_path_factory.mktemp("products"),
        drawn_slides / "phantom_1.tiff",
        Tiling(mpp=0.5, tile_px=128, shard_tiles=2),
        Pretraining(steps=2, batch=2, tile_px=64),
        Training(rounds=1, steps=40, batch=4, tile_px=64, regions=16),
    )
    tile(made.slide, made.tiles, settings=made.tiling)
    pretrain([made.tiles], made.encoder, settings=made.pretraining, seed=0)
    activate(made.tiles, made.encoder, made.activation, settings=Activation())
    settings = Pseudomasks()
    pseudomask(made.tiles, made.activation, made.pseudomasks, settings=settings, seed=0)
    pair = (made.tiles, made.pseudomasks)
    train([pair], made.unet, model="unet", settings=made.training, seed=0)
    segment(made.tiles, made.unet, made.tile_cells, settings=Inference())
    stitch(made.tile_cells, made.cells, settings=Stitching())
    return made
