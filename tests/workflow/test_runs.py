"""Whole runs: the same bytes for any number of cores, killed or not; real slides, one broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
import torch

from wsipsm.io.product import read_record

from ..models.sam_files import published, shake, vit_sam
from .conftest import REPOSITORY, Project

PARTIALS = {
    "tile": "slides/phantom_1/tiles.zarr",
    "pretrain": "models/encoder.pt",
    "activate": "slides/phantom_1/activation.zarr",
    "pseudomask": "slides/phantom_1/pseudomasks.zarr",
    "train": "models/unet.pt",
    "segment": "slides/phantom_1/unet/tile_cells",
    "stitch": "slides/phantom_1/unet/cells.parquet",
}
"""What each stage is making while it runs."""

CELLS = [f"slides/phantom_{number}/unet/cells.parquet" for number in (1, 2)]
CELLS_TARGETS = [f"results/{name}" for name in CELLS]


def fresh(finished: Project, folder: Path) -> Project:
    """Return the same project before its first run."""
    folder.mkdir()
    for name in ("slides", "config"):
        (folder / name).symlink_to((finished.folder / name).resolve())
    return Project(folder)


def same_cells(first: Project, second: Project) -> bool:
    return all(
        (first.results / name).read_bytes() == (second.results / name).read_bytes()
        for name in CELLS
    )


def kill_during(project: Project, product: Path) -> None:
    """Start the workflow, and kill it and its jobs while `product` is being made."""
    with subprocess.Popen(
        project.command(*CELLS_TARGETS),
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        partial = product.with_name(product.name + ".partial")
        while not (partial.exists() or product.exists()):
            assert run.poll() is None, f"the run ended before {product} was begun"
            time.sleep(0.005)
        time.sleep(0.1)
        os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.slow
def test_one_core_and_two_make_the_same_cells(finished: Project, tmp_path: Path) -> None:
    other = fresh(finished, tmp_path / "other")
    done = other.run(*CELLS_TARGETS, cores=1)
    assert done.returncode == 0, done.stdout
    assert same_cells(finished, other)


@pytest.mark.slow
def test_a_run_killed_at_every_stage_continues_to_the_same_cells(
    finished: Project, tmp_path: Path
) -> None:
    victim = fresh(finished, tmp_path / "victim")
    for product in PARTIALS.values():
        kill_during(victim, victim.results / product)
        assert victim.run("--unlock").returncode == 0
    done = victim.run("--rerun-incomplete", *CELLS_TARGETS)
    assert done.returncode == 0, done.stdout
    assert same_cells(finished, victim)
    assert not list(victim.results.rglob("*.partial"))


@pytest.mark.slow
def test_segment_anything_ends_in_qupath(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    torch.save(published(shake(vit_sam())), project.folder / "sam.pth")
    sam = {"base": "sam.pth", "input_px": 64, "view_um": 48, "steps": 2, "batch": 2, "cells": 4}
    project.configure(sam=sam, prompting={"min_score": 0, "min_stability": 0, "max_overlap": 0.5})
    profile = REPOSITORY / "workflow/profiles/local"
    done = project.run("--workflow-profile", str(profile), "--config", "models=[sam_lora]")
    assert done.returncode == 0, done.stdout
    assert "for QuPath: results/qupath/sam_lora/project.qpproj" in done.stdout
    listed = (project.results / "qupath/sam_lora/project.qpproj").read_text()
    for slide in ("phantom_1", "phantom_2"):
        assert f"{slide}.tiff" in listed
        cells = project.results / f"slides/{slide}/sam_lora/cells.geojson.zip"
        with zipfile.ZipFile(cells) as file:
            assert "features" in json.loads(file.read(file.namelist()[0]))


@pytest.mark.slow
def test_a_cohort_of_bad_slides_says_so_and_why(project: Project) -> None:
    project.list_slides("a slides/a.tiff train ", "b slides/b.tiff test ")
    done = project.run("--keep-going")
    assert done.returncode == 1, done.stdout
    assert (
        "every slide of the cohort was set aside"
        in (project.results / "logs/pretraining/encoder.log").read_text()
    )
    assert "2 slides: 2 quarantined" in done.stdout
    head, *rows = (project.results / "quarantine.tsv").read_text().splitlines()
    assert head.split("\t") == ["slide", "stage", "reason"]
    assert [row.split("\t")[:2] for row in rows] == [["a", "tile"], ["b", "tile"]]
    assert "slides/a.tiff" in rows[0]


@pytest.mark.slow
@pytest.mark.real_data
def test_two_real_slides_are_done_and_a_broken_one_is_set_aside(
    test_data: Path, tmp_path: Path
) -> None:
    cohort = Project(tmp_path / "cohort")
    cohort.folder.mkdir()
    cohort.configure(
        tiling={"mpp": 0.5, "tile_px": 256, "shard_tiles": 2},
        pretraining={"steps": 10, "batch": 4},
        training={"rounds": 1, "steps": 60, "batch": 4, "tile_px": 128, "regions": 16},
    )
    mosaic = test_data / "wsi_mosaic/monuseg_train4"
    cohort.list_slides(
        f"mosaic {mosaic}.tiff train {mosaic}_labels.png",
        f"cmu {test_data}/wsi/slides/CMU-1-Small-Region.svs train ",
        f"broken {test_data}/wsi/slides/openslide_unreadable.svs train ",
    )
    done = cohort.run("--show-failed-logs")
    assert done.returncode == 1, done.stdout
    assert "2 slides done, 1 quarantined" in done.stdout
    head, row = (cohort.results / "quarantine.tsv").read_text().splitlines()
    assert head.split("\t") == ["slide", "stage", "reason"]
    assert row.split("\t")[:2] == ["broken", "tile"]
    assert "of it cannot be read" in row

    for slide in ("mosaic", "cmu"):
        counts = read_record(cohort.results / f"slides/{slide}/unet/cells.parquet")["counts"]
        assert counts["cells"] > 300
    scores = json.loads((cohort.results / "evaluation/unet.json").read_text())["slides"]["mosaic"]
    assert set(scores) == {"unet", "stain_otsu", "rgb_kmeans", "untrained_psm"}
    for method in scores.values():
        assert 0 < method["aji"] < 1
        assert 0 < method["pq"] < 1
    assert scores["unet"]["aji"] > scores["untrained_psm"]["aji"]
    assert "broken" in (cohort.results / "report/index.html").read_text()

    again = cohort.run()
    assert again.returncode == 1
    assert "1 quarantined" in again.stdout
