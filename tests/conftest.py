"""What tests share: reasons to skip, the folder of real data, slides drawn once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wsipsm.phantom.phantom import draw_slides

REPOSITORY = Path(__file__).parents[1]
DATA = Path(os.environ.get("WSIPSM_TEST_DATA", REPOSITORY / "../shared/data")).resolve()


def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no GPU"


def _no_slurm() -> str | None:
    return None if shutil.which("sbatch") else "no SLURM: sbatch is not installed"


def _no_data() -> str | None:
    return None if DATA.is_dir() else f"no test data: WSIPSM_TEST_DATA is not a folder ({DATA})"


NEEDS: dict[str, Callable[[], str | None]] = {
    "gpu": _no_gpu,
    "slurm": _no_slurm,
    "real_data": _no_data,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test, with its reason, where it cannot run."""
    for marker, reason in NEEDS.items():
        if item.get_closest_marker(marker) and (why := reason()):
            pytest.skip(why)


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
