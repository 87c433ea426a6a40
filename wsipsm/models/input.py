"""What every network is fed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_input(images: NDArray[np.uint8]) -> Tensor:
    """Network input, float32 in [-1, 1], of uint8 RGB tiles (n, 3, y, x)."""
    return torch.from_numpy(images).float().div_(127.5).sub_(1)
