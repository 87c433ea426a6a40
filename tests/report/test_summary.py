"""The last lines of a run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsipsm import cli
from wsipsm.errors import DataError
from wsipsm.report.summary import summary


def write_table(results: Path, *rows: tuple[str, str, str]) -> None:
    """The table that the report writes: its header, and one row a slide that was set aside."""
    lines = ["\t".join(row) + "\n" for row in [("slide", "stage", "reason"), *rows]]
    (results / "quarantine.tsv").write_text("".join(lines))


def test_last_line_counts_slides(tmp_path: Path) -> None:
    write_table(tmp_path)
    assert (
        summary(tmp_path, slides=["a", "b"], models=["unet"])[-1] == "2 slides done, 0 quarantined"
    )
    write_table(tmp_path, ("b", "tile", "b.svs: no mpp"), ("gone", "tile", "not in the sheet"))
    last = summary(tmp_path, slides=["a", "b"], models=["unet"])[-1]
    assert last == f"1 slides done, 1 quarantined: see {tmp_path / 'quarantine.tsv'}"


def test_own_scores_come_before_the_controls(tmp_path: Path) -> None:
    write_table(tmp_path)
    scores = {name: {"mean": 0.5, "n": 2} for name in ("f1", "aji", "pq", "dice")}
    (tmp_path / "evaluation").mkdir()
    product = {"model": "unet", "methods": {"rgb_kmeans": scores, "unet": scores}}
    (tmp_path / "evaluation/unet.json").write_text(json.dumps(product))
    lines = summary(tmp_path, slides=["a", "b"], models=["unet"])
    assert lines[0] == "match with the truth: unet: F1 0.500, AJI 0.500, PQ 0.500 (slides: 2)"
    assert lines[1] == "control: rgb_kmeans: F1 0.500, AJI 0.500, PQ 0.500 (slides: 2)"


def test_run_without_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such table"):
        summary(tmp_path, slides=["a"], models=["unet"])


def test_summary_as_json(tmp_path: Path) -> None:
    write_table(tmp_path, ("b", "tile", "b.svs: no mpp"))
    words = ["summary", str(tmp_path), "--slides=a", "--slides=b", "--models=unet", "--json"]
    known = json.loads(CliRunner().invoke(cli.main, words).stdout)
    assert (known["done"], known["quarantined"], known["scores"]) == (1, ["b"], {})
