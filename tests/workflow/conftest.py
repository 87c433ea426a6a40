"""A small project of two drawn slides, and a helper that runs the real workflow on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]

TINY: dict[str, dict[str, Any]] = {
    "tiling": {"mpp": 0.5, "tile_px": 128, "shard_tiles": 2},
    "pretraining": {"steps": 2, "batch": 2, "tile_px": 64},
    "activation": {"sample_tiles": 4},
    "training": {"rounds": 1, "steps": 60, "batch": 4, "tile_px": 64, "regions": 16},
    "evaluation": {"resamples": 100},
}
"""Settings that make a run quick; its cells are poor, its files and jobs are real."""


@dataclass(frozen=True)
class Project:
    """A folder with config/ and slides/ in which the workflow of this repository runs."""

    folder: Path

    @property
    def results(self) -> Path:
        """Folder of all products."""
        return self.folder / "results"

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write the configuration: the tiny settings, with changes by section."""
        merged = {name: {**TINY.get(name, {}), **sections.get(name, {})} for name in TINY}
        text = yaml.safe_dump({**sections, **merged})
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config/config.yaml").write_text(text)

    def list_slides(self, *rows: str) -> None:
        """Write the slide sheet: rows of slide, path, split, truth, annotations, by spaces."""
        lines = ["slide path split truth annotations", *rows]
        text = "".join(line.replace(" ", "\t") + "\n" for line in lines)
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config/slides.tsv").write_text(text)

    def copy(self, folder: Path) -> Project:
        """Copy everything, products and Snakemake's memory too, with its times."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def command(self, *words: str, cores: int = 2) -> list[str]:
        """Return the words that start the workflow here."""
        start = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        return [*start, "--directory", str(self.folder), "--cores", str(cores), *words]

    def environment(self) -> dict[str, str]:
        """Return the environment, `wsipsm` of this Python first on the path."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path}

    def run(self, *words: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
        """Run the workflow to its end, whatever its exit code; stdout holds all that it says."""
        return self.end(self.command(*words, cores=cores))

    def end(
        self, words: list[str], *, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end, whatever its exit code; stdout holds all that it says."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def planned(self, *words: str) -> dict[str, int]:
        """Return the number of jobs of each rule that a dry run lists."""
        said = self.run("--dry-run", "--quiet", "rules", *words).stdout
        table = said.partition("Job stats:")[2].partition("total")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
        assert jobs or "Nothing to be done" in said, said
        return jobs


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Project whose slides are empty files: enough for a dry run."""
    made = Project(tmp_path / "project")
    (made.folder / "slides").mkdir(parents=True)
    for name in ("a.tiff", "b.tiff", "a.geojson"):
        (made.folder / "slides" / name).touch()
    made.configure()
    made.list_slides("a slides/a.tiff train slides/a.geojson", "b slides/b.tiff test ")
    return made


@pytest.fixture(scope="session")
def finished(drawn_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Project of two drawn slides, run to its end; tests that change it take a copy."""
    made = Project(tmp_path_factory.mktemp("workflow") / "project")
    made.folder.mkdir()
    (made.folder / "slides").symlink_to(drawn_slides)
    made.configure()
    made.list_slides(
        "phantom_1 slides/phantom_1.tiff train slides/phantom_1.cells.geojson",
        "phantom_2 slides/phantom_2.tiff test slides/phantom_2.cells.geojson",
    )
    done = made.run("--show-failed-logs")
    assert done.returncode == 0, done.stdout
    return made
