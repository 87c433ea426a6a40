"""Losses of embeddings that a constant does not minimise: NT-Xent and VICReg."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.2
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms, as the authors of VICReg set them."""

_EPSILON = 1e-4


def nt_xent(first: Tensor, second: Tensor) -> Tensor:
    """Normalised, temperature-scaled cross entropy of two views (n, d) of n tiles.

    Each of the 2 n embeddings is to find the other view of its tile among the 2 n - 1 others,
    by cosine similarity (SimCLR: Chen et al. 2020, equation 1; its mean over all embeddings).
    """
    embeddings = functional.normalize(torch.cat([first, second]).float(), dim=1)
    alike = embeddings @ embeddings.T / TEMPERATURE
    own = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
    partners = torch.arange(len(alike), device=alike.device).roll(len(first))
    return functional.cross_entropy(alike.masked_fill(own, -torch.inf), partners)


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    """Variance, invariance, covariance of two views (n, d) (Bardes et al. 2022, equation 6).

    Invariance (equation 5) is the mean squared difference, here over tiles and dimensions, as
    in the authors' experiments; variance and covariance are summed over the two views.
    """
    first, second = first.float(), second.float()
    spread = _variance(first) + _variance(second)
    shared = _covariance(first) + _covariance(second)
    loss: Tensor = INVARIANCE * functional.mse_loss(first, second)
    return loss + VARIANCE * spread / 2 + COVARIANCE * shared


def _variance(embeddings: Tensor) -> Tensor:
    """How far the standard deviation of each dimension is below 1 (equations 1 and 2)."""
    return functional.relu(1 - (embeddings.var(0) + _EPSILON).sqrt()).mean()


def _covariance(embeddings: Tensor) -> Tensor:
    """Squared covariance of different dimensions, over their number (equations 3 and 4)."""
    covariance = torch.cov(embeddings.T)
    return (covariance - covariance.diag().diag()).square().sum() / embeddings.shape[1]
