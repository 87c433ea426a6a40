"""A new project's folder, and the wheel from which it is laid out."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from click.testing import CliRunner

import wsipsm
from wsipsm import cli
from wsipsm.errors import SettingsError
from wsipsm.layout import lay_out, snakefile
from wsipsm.sheet import read_slide_sheet

REPOSITORY = Path(__file__).parents[1]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_row_for_each_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["my slide (1).svs", "my_slide_1.tiff", "Ω.svs", "../'quo\"te.svs", "-rf.svs"]
    folder = tmp_path / "study"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    lay_out(folder, [folder / name for name in names])
    monkeypatch.chdir(folder)
    rows = read_slide_sheet(Path("config/slides.tsv"))
    assert [row.slide for row in rows] == ["my_slide_1", "my_slide_1_2", "slide", "quo_te", "rf"]
    assert all(Path(row.path).is_file() for row in rows)
    assert rows[0].path == "my slide (1).svs"


@pytest.mark.parametrize(("mpp", "chosen"), [(0.23, 0.25), (0.46, 0.5), (0.9, 1.0)])
def test_resolution_is_that_of_the_scan(tmp_path: Path, mpp: float, chosen: float) -> None:
    page = np.zeros((64, 64, 3), np.uint8)
    per_cm = (1e4 / mpp, 1e4 / mpp)
    path, other = tmp_path / "a.tiff", tmp_path / "b.tiff"
    tifffile.imwrite(path, page, tile=(32, 32), resolution=per_cm, resolutionunit="CENTIMETER")
    tifffile.imwrite(other, page, tile=(32, 32))
    done = CliRunner().invoke(cli.main, ["init", str(tmp_path / "new"), str(path), str(other)])
    assert done.exit_code == 0
    assert "not usable yet" in done.stderr
    assert "b.tiff: no mpp in the file; set the mpp column" in done.stderr
    config = yaml.safe_load((tmp_path / "new/config/config.yaml").read_text())
    assert config["tiling"]["mpp"] == chosen


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    sheet = tmp_path / "config/slides.tsv"
    sheet.write_text("mine")
    with pytest.raises(SettingsError, match=r"slides\.tsv: is there already"):
        lay_out(tmp_path)
    assert files_below(tmp_path) == ["config/slides.tsv"]
    assert sheet.read_text() == "mine"


def test_missing_slide_is_said_before_anything_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["init", str(tmp_path / "new"), str(tmp_path / "no.svs")])
    assert done.exit_code == 2
    assert "no.svs: no such slide" in done.output
    assert not (tmp_path / "new").exists()


def test_working_tree_has_the_same_files(tmp_path: Path) -> None:
    written = {str(path.relative_to(tmp_path)) for path in lay_out(tmp_path)}
    assert written == set(files_below(tmp_path))
    assert Path(snakefile()) == REPOSITORY / "Snakefile"
    for name in written - {"Snakefile", "config/slides.tsv"}:
        assert (tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes()
    with (tmp_path / "config/slides.tsv").open(newline="") as sheet:
        assert list(csv.DictReader(sheet, delimiter="\t")) == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what the wheel brings, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("wsipsm-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_with(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(site), "PATH": path}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_one_version(site: Path) -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert cited["version"] == wsipsm.__version__
    (wheel,) = site.parent.glob("*.whl")
    assert wheel.name.split("-")[1] == wsipsm.__version__


def test_environments_hold_what_the_package_needs() -> None:
    facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=\[]", text)[0] for text in facts["dependencies"]}
    lock = (REPOSITORY / "envs/requirements.lock").read_text()
    assert needed <= set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    conda = yaml.safe_load((REPOSITORY / "envs/wsipsm.yaml").read_text())
    assert "python =3.11" in conda["dependencies"]
    assert "requirements.lock" in (REPOSITORY / "envs/wsipsm.post-deploy.sh").read_text()
    rules = [path.read_text() for path in (REPOSITORY / "workflow/rules").glob("[0-9]*.smk")]
    assert all(text.count("shell:") == text.count("../../envs/wsipsm.yaml") for text in rules)
    shown = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert shown["software-stack-deployment"]["conda"] is True
    assert shown["report"] is True


def test_wheel_brings_the_workflow(site: Path) -> None:
    tracked = [*(REPOSITORY / "workflow").rglob("*"), *(REPOSITORY / "envs").iterdir()]
    names = [str(path.relative_to(REPOSITORY)) for path in tracked if path.is_file()]
    for name in ("Snakefile", "config/README.md", *names):
        assert (site / "wsipsm/shipped" / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert (site / "wsipsm/py.typed").is_file()
    assert (site / "wsipsm/report/page.html.jinja").is_file()


def test_project_of_the_wheel_alone_is_planned(site: Path, tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    done = run_with(site, tmp_path, "wsipsm.cli", "init", ".", "a.svs")
    assert done.returncode == 0, done.stderr
    profile = ("--workflow-profile", "workflow/profiles/local")
    done = run_with(site, tmp_path, "snakemake", "--dry-run", *profile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule report" in done.stdout
    done = run_with(site, tmp_path, "wsipsm.cli", "init", ".")
    assert done.returncode == 2


def test_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def said() -> str:
        done = CliRunner().invoke(cli.main, [])
        assert done.exit_code == 0
        return done.output

    assert "wsipsm init FOLDER" in said()
    lay_out(tmp_path)
    assert "The run has not begun" in said()
    config = tmp_path / "config/config.yaml"
    config.write_text(config.read_text().replace("results: results", "results: made"))
    (tmp_path / "made/report").mkdir(parents=True)
    assert "go on: wsipsm resume" in said()
    (tmp_path / "made/report/index.html").touch()
    (tmp_path / "made/quarantine.tsv").write_text("slide\tstage\treason\nbad\ttile\tno mpp\n")
    assert "report: made/report/index.html" in said()
    assert "slides set aside: 1 (made/quarantine.tsv)" in said()
    config.write_text("a: [")
    assert CliRunner().invoke(cli.main, []).exit_code == 2
