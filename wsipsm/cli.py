"""The command line: one sub-command a stage, its options made from the stage's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import wsipsm
from wsipsm import compute, config
from wsipsm.benchmark.commands import benchmark_method, benchmark_quality
from wsipsm.errors import SettingsError
from wsipsm.options import (
    EXISTING,
    TARGET,
    Group,
    quarantine,
    seed,
    set_aside,
    settings,
    target,
    workers,
)
from wsipsm.site.commands import doctor, init, resume, settings_of, status, summary, view


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(wsipsm.__version__)
@click.option("--quiet", is_flag=True, help="Say nothing of progress.")
@click.pass_context
def main(context: click.Context, *, quiet: bool) -> None:
    """Turn whole-slide images into cells, without annotations.

    Without a command: what this folder holds, and what to do next.
    """
    if context.invoked_subcommand is None:
        from wsipsm import layout

        for line in layout.next_steps(Path()):
            click.echo(line)
        return
    compute.one_thread_each()
    compute.keep_memory()
    if quiet:
        compute.be_quiet()


for command in (init, doctor, status, resume, summary, view):
    main.add_command(command)


@main.command()
@click.argument("folder", type=TARGET)
@click.option("--count", default=2, show_default=True, help="Number of slides.")
@click.option("--size-px", default=4096, show_default=True, help="Side of a slide, pixels.")
@click.option("--mpp", default=0.25, show_default=True, help="Microns per pixel.")
@click.option("--stain", type=click.Choice(["he", "ihc"]), default="he", show_default=True)
@seed
def phantom(folder: Path, **options: Any) -> None:
    """Draw slides with known nuclei into FOLDER, the truth beside each."""
    from wsipsm.phantom.phantom import draw_slides

    for path in draw_slides(folder, **options):
        click.echo(path)


@main.command()
@click.argument("slide", type=click.Path(path_type=Path))
@target
@click.option("--name", help="Name of the slide. [default: that of the file]")
@click.option("--slide-mpp", type=float, help="Microns per pixel. [default: from the file]")
@click.option("--stain", type=click.Choice(["he", "ihc"]), default="he", show_default=True)
@settings(config.Tiling)
@workers
@quarantine
def tile(slide: Path, target: Path, *, quarantine: bool, **options: Any) -> None:
    """Cut the tissue of SLIDE into the tiles of TARGET (tiles.zarr)."""
    from wsipsm.tiling.tile import tile as stage

    set_aside(target, wanted=quarantine, work=lambda: stage(slide, target, **options))


@main.command()
@click.argument("tiles", nargs=-1, type=EXISTING, required=True)
@target
@settings(config.Pretraining)
@seed
@workers
def pretrain(tiles: tuple[Path, ...], target: Path, **options: Any) -> None:
    """Train the activation network of TARGET (encoder.pt) on unlabelled TILES."""
    from wsipsm.pretraining.pretrain import pretrain as stage

    stage(list(tiles), target, **options)


@main.command()
@click.argument("tiles", type=EXISTING)
@click.argument("encoder", type=EXISTING)
@target
@settings(config.Activation)
@workers
@quarantine
def activate(tiles: Path, encoder: Path, target: Path, *, quarantine: bool, **options: Any) -> None:
    """Compute the prior self-activation map of TILES into TARGET (activation.zarr)."""
    from wsipsm.activation.activate import activate as stage

    set_aside(target, wanted=quarantine, work=lambda: stage(tiles, encoder, target, **options))


@main.command()
@click.argument("tiles", type=EXISTING)
@click.argument("activation", type=EXISTING)
@target
@settings(config.Pseudomasks)
@seed
@workers
@quarantine
def pseudomask(
    tiles: Path, activation: Path, target: Path, *, quarantine: bool, **options: Any
) -> None:
    """Cluster stain and ACTIVATION of TILES into TARGET (pseudomasks.zarr)."""
    from wsipsm.pseudomasks.pseudomask import pseudomask as stage

    set_aside(target, wanted=quarantine, work=lambda: stage(tiles, activation, target, **options))


@main.command()
@target
@click.option("--tiles", type=EXISTING, multiple=True, required=True, help="One for each slide.")
@click.option(
    "--pseudomasks", type=EXISTING, multiple=True, required=True, help="In the order of --tiles."
)
@click.option("--annotations", multiple=True, help="GeoJSON of each; '-' or no option for none.")
@click.option("--encoder", type=EXISTING, help="Activation network, for --init encoder.")
@click.option("--model", type=click.Choice(["unet", "sam_lora"]), default="unet", show_default=True)
@settings(config.Training)
@settings(config.Sam, prefix="sam")
@seed
@workers
def train(
    target: Path,
    *,
    tiles: tuple[Path, ...],
    pseudomasks: tuple[Path, ...],
    annotations: tuple[str, ...],
    settings: config.Training,
    sam: config.Sam,
    **options: Any,
) -> None:
    """Train the model of TARGET (such as unet.pt) on pseudo masks and annotated fields."""
    from wsipsm.training.train import train as stage

    annotations = annotations or ("-",) * len(tiles)
    if not len(tiles) == len(pseudomasks) == len(annotations):
        raise SettingsError("train: give --pseudomasks and --annotations once for each --tiles")
    slides = list(zip(tiles, pseudomasks, annotations, strict=True))
    chosen = sam if options["model"] == "sam_lora" else settings
    stage(slides, target, settings=chosen, **options)


@main.command()
@click.argument("tiles", type=EXISTING)
@click.argument("model", type=EXISTING)
@target
@settings(config.Inference)
@settings(config.Prompting, prefix="prompting")
@click.option("--prompts", type=EXISTING, help="Pseudo masks or U-Net that sam_lora is asked by.")
@workers
@quarantine
def segment(
    tiles: Path,
    model: Path,
    target: Path,
    *,
    prompting: config.Prompting,
    prompts: Path | None,
    quarantine: bool,
    **options: Any,
) -> None:
    """Segment TILES with MODEL into the parts of TARGET (tile_cells)."""
    from wsipsm.inference.segment import segment as stage
    from wsipsm.models.segmenter import Asking

    options["asking"] = Asking(prompting, prompts)
    set_aside(target, wanted=quarantine, work=lambda: stage(tiles, model, target, **options))


@main.command()
@click.argument("tile_cells", type=EXISTING)
@target
@settings(config.Stitching)
@quarantine
def stitch(tile_cells: Path, target: Path, *, quarantine: bool, **options: Any) -> None:
    """Give each cell of TILE_CELLS one owner, in TARGET (cells.parquet)."""
    from wsipsm.stitching.stitch import stitch as stage

    set_aside(target, wanted=quarantine, work=lambda: stage(tile_cells, target, **options))


@main.command()
@click.argument("cells", type=EXISTING)
@target
@click.option("--tiles", type=EXISTING, help="For .spatialdata.zarr and .labels.zarr.")
@settings(config.Export)
@quarantine
def export(cells: Path, target: Path, *, quarantine: bool, **options: Any) -> None:
    """Write CELLS for another program; the name of TARGET says how.

    A name that ends in .geojson.zip is for QuPath, in .points.geojson too, as points and hot
    spots, in .tsv a table of measurements, in .db for tiatoolbox, in .spatialdata.zarr for
    scverse, in .labels.zarr an OME-NGFF label image.
    """
    from wsipsm.export.export import export as stage

    set_aside(target, wanted=quarantine, work=lambda: stage(cells, target, **options))


@main.command()
@target
@click.option("--tiles", type=EXISTING, multiple=True, required=True, help="One for each slide.")
@click.option("--cells", type=EXISTING, multiple=True, required=True, help="cells.parquet of each.")
@click.option("--zips", type=EXISTING, multiple=True, required=True, help="cells.geojson.zip.")
def project(target: Path, **products: tuple[Path, ...]) -> None:
    """Write a QuPath project of the cohort into TARGET, with the cells beside it."""
    from wsipsm.export.project import project as stage

    stage(target, **{name: list(paths) for name, paths in products.items()})


@main.command()
@target
@click.option("--tiles", type=EXISTING, multiple=True, required=True, help="One for each slide.")
@click.option("--cells", type=EXISTING, multiple=True, required=True, help="cells.parquet of each.")
@click.option("--truth", multiple=True, required=True, help="GeoJSON or label image; '-' for none.")
@click.option("--encoder", type=EXISTING, required=True, help="encoder.pt, for the controls.")
@click.option("--checkpoint", type=EXISTING, help="The model: it says what annotations taught it.")
@settings(config.Evaluation)
@seed
@workers
def evaluate(target: Path, **options: Any) -> None:
    """Score cells against truth, the plain controls beside them, into TARGET (JSON)."""
    from wsipsm.evaluation.evaluate import evaluate as stage

    stage(target, **options)


@main.command()
@click.argument("tiles", type=EXISTING)
@click.argument("model", type=EXISTING)
@target
@click.option("--field-px", default=2048, show_default=True, help="Largest side of the field.")
@click.option(
    "--cuts", type=click.IntRange(1), multiple=True, default=(1, 4, 16), show_default=True,
    help="Tiles along a side of the field.",
)  # fmt: skip
@settings(config.Inference)
@workers
def evaluate_tiling(tiles: Path, model: Path, target: Path, **options: Any) -> None:
    """Compare the cells of a field of TILES cut in several ways, into TARGET (JSON)."""
    from wsipsm import invariance

    for line in invariance.table_of(invariance.evaluate_tiling(tiles, model, target, **options)):
        click.echo(line)


@main.command()
@click.argument("results", type=EXISTING)
@target
@click.option("--slides", multiple=True, required=True, help="Names of the slides, in order.")
@click.option("--models", multiple=True, required=True, help="Names of the models, in order.")
@click.option("--quarantined", type=TARGET, required=True, help="Table of bad slides to write.")
@settings(config.Report)
def report(results: Path, target: Path, **options: Any) -> None:
    """Write one page about the cohort in RESULTS to TARGET (index.html)."""
    from wsipsm.report.report import report as stage

    stage(results, target, **options)


for command in (settings_of, benchmark_method, benchmark_quality):
    main.add_command(command)

if __name__ == "__main__":
    main()
