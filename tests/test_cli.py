"""The command line: help, exit codes, one sentence for a mistake, and a quick start."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from wsipsm import cli, config
from wsipsm.errors import DataError
from wsipsm.io.product import RECORD, read_record
from wsipsm.sections import settings_table

STAGES = {
    "tile": config.Tiling,
    "pretrain": config.Pretraining,
    "activate": config.Activation,
    "pseudomask": config.Pseudomasks,
    "train": config.Training,
    "segment": config.Inference,
    "stitch": config.Stitching,
    "export": config.Export,
    "evaluate": config.Evaluation,
    "report": config.Report,
}


def run(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell: str) -> None:
    environment = {"_WSIPSM_COMPLETE": f"{shell}_source"}
    done = CliRunner().invoke(cli.main, [], prog_name="wsipsm", env=environment)
    assert done.exit_code == 0
    assert "_WSIPSM_COMPLETE" in done.output


def test_help_lists_the_stages_in_their_order() -> None:
    result = run("--help")
    places = [result.output.index(f"\n  {name} ") for name in STAGES]
    assert result.exit_code == 0
    assert places == sorted(places)


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_of_a_stage_is_an_option(stage: str) -> None:
    result = run(stage, "--help")
    assert result.exit_code == 0
    for name in STAGES[stage].model_fields:
        assert f"--{name.replace('_', '-')} " in result.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from wsipsm.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'dask', 'distributed', 'zarr', 'numpy'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stderr == "\n"


@pytest.mark.parametrize(
    "words",
    [
        ("tile",),
        ("no-such-command",),
        ("tile", "a.svs", "b.zarr", "--stain", "green"),
        ("activate", "no.zarr", "no.pt", "out.zarr"),
    ],
)
def test_usage_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_wrong_setting_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    result = run("tile", tmp_path / "a.svs", tmp_path / "out.zarr", "--tile-px", "100")
    assert result.exit_code == 2
    assert result.stderr.startswith("wsipsm: wsipsm tile: tile_px: ")
    assert result.stderr.count("\n") == 1


def test_bad_slide_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    slide.write_text("not a slide")
    result = run("tile", slide, tmp_path / "tiles.zarr")
    assert result.exit_code == 1
    assert result.stderr.startswith("wsipsm: ")
    assert str(slide) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "tiles.zarr").exists()


def test_bad_slide_is_set_aside_when_asked(tmp_path: Path) -> None:
    slide, tiles = tmp_path / "a.svs", tmp_path / "tiles.zarr"
    slide.write_text("not a slide")
    result = run("tile", slide, tiles, "--quarantine")
    assert result.exit_code == 0
    with pytest.raises(DataError, match=r"a\.svs"):
        read_record(tiles)


def test_quarantine_is_passed_on(tmp_path: Path) -> None:
    slide, tiles = tmp_path / "a.svs", tmp_path / "tiles.zarr"
    slide.write_text("not a slide")
    run("tile", slide, tiles, "--quarantine")
    model = tmp_path / "unet.pt"
    model.touch()
    result = run("segment", tiles, model, tmp_path / "tile_cells", "--quarantine")
    assert result.exit_code == 0
    assert (tmp_path / "tile_cells" / RECORD).exists()
    stitched = tmp_path / "cells.parquet"
    assert run("stitch", tmp_path / "tile_cells", stitched, "--quarantine").exit_code == 0
    for product in (tmp_path / "tile_cells", stitched):
        with pytest.raises(DataError, match=r"a\.svs"):
            read_record(product)
    assert run("stitch", tmp_path / "tile_cells", stitched).exit_code == 1


def test_several_values_and_none_reach_the_section() -> None:
    seen: list[config.Section] = []

    @click.command()
    @cli.settings(config.Evaluation)
    def probe(settings: config.Evaluation) -> None:
        seen.append(settings)

    def controls(*words: str) -> tuple[str, ...]:
        assert CliRunner().invoke(probe, list(words)).exit_code == 0
        last = seen[-1]
        assert isinstance(last, config.Evaluation)
        return last.controls

    assert controls() == config.Evaluation().controls
    assert controls("--controls=stain_otsu") == ("stain_otsu",)
    assert controls("--controls=rgb_kmeans", "--controls=stain_otsu") == (
        "rgb_kmeans",
        "stain_otsu",
    )
    assert controls("--controls=") == ()


def test_settings_are_printed() -> None:
    assert run("settings-of", "table").output.rstrip() == settings_table(config.Config)
    assert '"title": "Config"' in run("settings-of", "schema").output


def test_a_file_of_words_stands_for_them(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text(f"'{tmp_path}/no such folder' --slides=a '--slides=b c'")
    result = run("summary", f"@{words}", "--models", "unet")
    assert result.exit_code == 2
    assert "no such folder' does not exist" in result.output
    assert run("summary", "@nothing", "--models", "unet").exit_code == 2
