"""Losses against their equations written out, and whether a constant escapes them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from wsipsm.pretraining.losses import TEMPERATURE, nt_xent, vicreg


def views(count: int = 6, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, width, generator=generator)
    return first, first + 0.5 * torch.randn(count, width, generator=generator)


def test_nt_xent_is_the_equation() -> None:
    first, second = views()
    every = [*first, *second]
    total = 0.0
    for i, one in enumerate(every):
        j = (i + len(first)) % len(every)
        alike = [
            math.exp(float(functional.cosine_similarity(one, other, dim=0)) / TEMPERATURE)
            for other in every
        ]
        total -= math.log(alike[j] / (sum(alike) - alike[i]))
    assert float(nt_xent(first, second)) == pytest.approx(total / len(every), rel=1e-5)


def test_vicreg_is_the_equation() -> None:
    first, second = views()
    wanted = 25 * float(((first - second) ** 2).mean())
    for z in (first, second):
        variance = z.var(0)
        wanted += 25 / 2 * float(torch.relu(1 - (variance + 1e-4).sqrt()).mean())
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (len(z) - 1)
        off = covariance[~torch.eye(z.shape[1], dtype=torch.bool)]
        wanted += float(off.square().sum()) / z.shape[1]
    assert float(vicreg(first, second)) == pytest.approx(wanted, rel=1e-5)


def test_a_constant_is_dear() -> None:
    first, second = views()
    constant = torch.ones_like(first)
    assert float(vicreg(constant, constant)) == pytest.approx(25 * (1 - 0.01))
    assert float(nt_xent(constant, constant)) == pytest.approx(math.log(2 * len(first) - 1))
    assert nt_xent(first, second) < nt_xent(constant, constant)
    torch.manual_seed(0)
    scattered = torch.randn(4000, 2)
    assert float(vicreg(scattered, scattered)) < 1


def spread_after(loss_of: Callable[..., torch.Tensor], *, steps: int = 150) -> float:
    """Standard deviation over tiles of unit embeddings, times the root of their width."""
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(32, 16, generator=generator) + 2  # they have much in common
    weights = (torch.randn(16, 8, generator=generator) / 4).requires_grad_()
    bias = torch.ones(8, requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=0.02)
    for _ in range(steps):
        first, second = (
            (tiles + 0.3 * torch.randn(tiles.shape, generator=generator)) @ weights + bias
            for _ in range(2)
        )
        loss = loss_of(first, second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = functional.normalize(tiles @ weights + bias, dim=1).std(0) * 8**0.5
    return float(found.mean().detach())


def test_embeddings_stay_apart_where_those_of_similarity_collapse() -> None:
    assert spread_after(functional.l1_loss) < 0.1
    assert spread_after(nt_xent) > 0.7
    assert spread_after(vicreg) > 0.3
