"""Commands that measure methods on folders of fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsipsm import config
from wsipsm.options import TARGET, settings, target, workers


@click.command()
@click.argument("folders", nargs=-1, type=TARGET, required=True)
@target
@click.option("--work", type=TARGET, help="Folder of the products. [default: TARGET.work]")
@click.option("--methods", multiple=True, help="Methods to compare. [default: all]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option("--steps", type=click.IntRange(0), help="Of our networks. [default: the setting]")
@click.option(
    "--paper-steps",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Of the paper's activation network; the paper: 3000.",
)
@click.option(
    "--unet-steps",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Of each of the paper's U-Nets; the paper: 750.",
)
@click.option(
    "--unet-rate",
    type=float,
    default=1e-3,
    show_default=True,
    help="Learning rate of the paper's U-Nets; the paper: 0.0001.",
)
@click.option(
    "--paper-tile-px",
    "tile_px",
    type=click.IntRange(64),
    default=256,
    show_default=True,
    help="Side of the tiles that the paper's networks learn from; the paper: 512.",
)
@click.option("--mpp", default=0.25, show_default=True, help="Microns per pixel of the fields.")
@click.option("--stain", type=click.Choice(["he", "ihc"]), default="he", show_default=True)
@workers
def benchmark_method(folders: tuple[Path, ...], target: Path, **options: Any) -> None:
    """Compare pseudo masks of the fields in FOLDERS with plain methods, into TARGET (JSON)."""
    from wsipsm.benchmark.method import benchmark_method as compare
    from wsipsm.benchmark.methods import METHODS, Budget

    names = ("steps", "paper_steps", "unet_steps", "unet_rate", "tile_px")
    budget = Budget(**{name: options.pop(name) for name in names})
    work = options.pop("work") or target.with_name(target.name + ".work")
    methods = options.pop("methods") or tuple(METHODS)
    click.echo(compare(folders, target, work=work, methods=methods, budget=budget, **options))


@click.command()
@click.argument("folders", nargs=-1, type=TARGET, required=True)
@target
@click.option("--elsewhere", type=TARGET, multiple=True, help="Folders that are only scored.")
@click.option("--work", type=TARGET, help="Folder of the products. [default: TARGET.work]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option("--ablate", is_flag=True, help="Add rows for rounds, heads, and truth's threshold.")
@click.option(
    "--annotated",
    multiple=True,
    type=click.IntRange(1),
    help="Add a row for so many fields whose outlines are learned, and not scored.",
)
@click.option("--mpp", default=0.25, show_default=True, help="Microns per pixel of the fields.")
@settings(config.Training)
@workers
def benchmark_quality(
    folders: tuple[Path, ...], target: Path, *, settings: config.Training, **options: Any
) -> None:
    """Train on the fields in FOLDERS without labels; score them into TARGET (JSON)."""
    from wsipsm.benchmark.quality import benchmark_quality as measure

    work = options.pop("work") or target.with_name(target.name + ".work")
    click.echo(measure(folders, target, work=work, training=settings, **options))
