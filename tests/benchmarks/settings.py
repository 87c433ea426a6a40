"""What the settings of docs/settings.md change: scores, processor time, size, beside the defaults.

`python -m tests.benchmarks.settings` draws slides with known nuclei, runs the workflow on them with
`config/config.yaml` as it stands, and again for each change, which makes again what depends on
it. With names it runs those changes only, such as `python -m tests.benchmarks.settings mpp_0.5`;
with `--keep` a later call goes on where it was, and takes over what is there.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml

from wsipsm.config import Stain
from wsipsm.phantom.phantom import draw_slides

REPOSITORY = Path(__file__).parents[2]
FULL = {"steps": 1500, "tile_px": 192, "regions": 240}
TIMED = """#!/bin/bash
TIMEFORMAT="$1 %U %S"
{{ time {wsipsm} "$@" 2>&3; }} 3>&2 2>>{log}
"""
"""A command that stands before `wsipsm` on the path and notes the processor time of each."""


@dataclass(frozen=True)
class Change:
    """A change of the configuration, and the stain of the slides that it is tried on."""

    settings: dict[str, dict[str, Any]]
    stain: Stain = "he"
    said: Stain | None = None
    """Stain that the slide sheet says, where it is not that of the slides."""
    beside: str = ""
    """The run whose products are taken over; empty: that of the defaults."""


IHC = {"pseudomasks": {"classes": ["negative", "positive"]}}
CHANGES = {
    "mpp_0.5": Change({"tiling": {"mpp": 0.5}}),
    "jpeg": Change({"tiling": {"codec": "jpeg"}}),
    "exclude_none": Change({"tiling": {"exclude": []}}),
    "exclude_all": Change({"tiling": {"exclude": ["pen", "fold", "bubble", "blur"]}}),
    "halo_0": Change({"inference": {"halo_um": 0}}),
    "halo_48": Change({"inference": {"halo_um": 48}}),
    "expansion_5": Change({"export": {"cell_expansion_um": 5}}),
    "small_pages": Change({"report": {"full_slides": 0}}),
    "wrong_stain": Change({}, said="ihc"),
    "steps_40": Change({"training": {"steps": 40}}),
    "steps_600": Change({"training": {"steps": 600}}),
    "backbone_resnet34": Change({"training": {"backbone": "resnet34"}}),
    "encoder_res2net101": Change({"pretraining": {"backbone": "res2net101_26w_4s"}}),
    "pretraining_600": Change({"pretraining": {"steps": 600}}),
    "ihc_one_class": Change({}, stain="ihc"),
    "ihc_two_classes": Change(IHC, stain="ihc", beside="ihc_one_class"),
    "training_defaults": Change({"training": FULL}),
}


@dataclass
class Trial:
    """A folder with a configuration, a slide sheet and drawn slides, and what a run came to."""

    folder: Path
    spent: dict[str, float] = field(default_factory=dict)

    def prepare(self, change: Change, slides: Path) -> None:
        """Write the configuration and the sheet; the second slide is for tests."""
        config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
        config["evaluation"] = {"controls": [], "resamples": 100}
        for section, values in change.settings.items():
            config[section] = {**config.get(section, {}), **values}
        rows = ["slide\tpath\tstain\tsplit\ttruth"]
        for path, split in zip(sorted(slides.glob("*.tiff")), ("train", "test"), strict=True):
            truth = path.with_suffix(".cells.geojson")
            rows.append(f"{path.stem}\t{path}\t{change.said or change.stain}\t{split}\t{truth}")
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "config/slides.tsv").write_text("\n".join(rows) + "\n")

    def run(self, former: dict[str, float]) -> None:
        """Run the workflow; stages that did not run have the time of the `former` run."""
        log, place = self.folder / "spent.txt", self.folder / "bin"
        log.touch()  # a run that goes on adds to it
        place.mkdir(exist_ok=True)
        timed = place / "wsipsm"
        timed.write_text(TIMED.format(wsipsm=Path(sys.executable).with_name("wsipsm"), log=log))
        timed.chmod(timed.stat().st_mode | stat.S_IXUSR)
        path = os.pathsep.join((str(place), str(Path(sys.executable).parent), os.environ["PATH"]))
        words = [
            "snakemake",
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--cores",
            "2",
            "--rerun-incomplete",
        ]
        done = subprocess.run(
            [*words, "--directory", str(self.folder)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise click.ClickException(done.stdout + done.stderr)
        seen: dict[str, float] = defaultdict(float)
        for line in log.read_text().splitlines():
            stage, user, system = line.split()
            seen[stage] += float(user) + float(system)
        self.spent = {**former, **seen}

    def figures(self) -> str:
        """F1 and AJI of the test slide, F1 by class, processor seconds, MB of tiles and page."""
        results = self.folder / "results"
        scores = json.loads((results / "evaluation/unet.json").read_text())
        tested = max(scores["slides"])
        own, classes = scores["slides"][tested]["unet"], scores["class_methods"]
        by_class = {name: of["f1"]["mean"] for name, of in classes.items() if "f1" in of}
        shown = ", ".join(f"{name} {value:.2f}" for name, value in by_class.items())
        tiles = results / f"slides/{tested}/tiles.zarr"
        size = sum(file.stat().st_size for file in tiles.rglob("*") if file.is_file()) / 1e6
        page = (results / "report/index.html").stat().st_size / 1e6
        zipped = (results / f"slides/{tested}/unet/cells.geojson.zip").stat().st_size / 1e6
        return (
            f"{own['f1']:.3f} | {own['aji']:.3f} | {shown if len(by_class) > 1 else ''} |"
            f" {sum(self.spent.values()):.0f} | {size:.1f} | {page:.1f} | {zipped:.2f}"
        )


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(CHANGES)))
@click.option("--size-px", default=2048, show_default=True, help="Side of a drawn slide, pixels.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to work in, and to keep.")
def main(names: tuple[str, ...], size_px: int, keep: Path | None) -> None:
    """Print a line for the defaults, and one for each change."""
    with TemporaryDirectory() as temporary:
        work = (keep or Path(temporary)).absolute()
        done: dict[str, Trial] = {}
        click.echo(
            "| change | F1 | AJI | F1 by class | CPU s | of it | MB of tiles | page | zip |"
            "\n| --- | --: | --: | --- | --: | --- | --: | --: | --: |"
        )
        for name in ("defaults", *(names or CHANGES)):
            _try(name, work, size_px, done)


def _try(name: str, work: Path, size_px: int, done: dict[str, Trial]) -> None:
    """Make a change to the run that it is compared with, and print its line."""
    change = CHANGES.get(name, Change({}))
    slides = work / f"slides_{change.stain}"
    if not slides.exists():
        draw_slides(slides, count=2, size_px=size_px, mpp=0.25, stain=change.stain, seed=0)
    beside = change.beside or ("defaults" if change.stain == "he" else name)
    former = done.get(beside)
    trial = Trial(work / name)
    if former and not trial.folder.exists():
        ignored = shutil.ignore_patterns("spent.txt")
        shutil.copytree(former.folder, trial.folder, symlinks=True, ignore=ignored)
    trial.prepare(change, slides)
    trial.run(former.spent if former else {})
    done[name] = trial
    before = former.spent if former else {}
    moved = [
        f"{stage} {seconds:.0f}"
        for stage, seconds in trial.spent.items()
        if not before or seconds != before.get(stage)
    ]
    first, _, last = trial.figures().rpartition(" | ")
    head, _, page = first.rpartition(" | ")
    start, _, size = head.rpartition(" | ")
    click.echo(f"| {name} | {start} | {', '.join(moved)} | {size} | {page} | {last} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
