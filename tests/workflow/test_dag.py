"""Which jobs the workflow plans, and how it refuses a wrong configuration or slide sheet."""

from __future__ import annotations

import re
import shlex
import zipfile
from pathlib import Path
from string import ascii_letters
from typing import Any

import pytest

from .conftest import REPOSITORY, Project

ORDER = [
    *["tile", "pretrain", "activate", "pseudomask", "train", "segment", "stitch"],
    *["export", "project", "evaluate", "report", "summary"],
]

CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "tiling": ({"min_tissue_share": 0.03}, ORDER),
    "pretraining": ({"steps": 3}, ORDER[1:]),
    "activation": ({"halo_um": 9}, ORDER[2:]),
    "pseudomasks": ({"psm_weight": 0.3}, ORDER[3:]),
    "training": ({"steps": 3}, ORDER[4:]),
    "inference": ({"foreground": 0.6}, ORDER[5:]),
    "stitching": ({"overlap": 0.5}, ORDER[6:]),
    "export": ({"part_features": 99}, ["export", "project", "report", "summary"]),
    "evaluation": ({"iou": 0.6}, ["evaluate", "report", "summary"]),
    "report": ({"overview_px": 300}, ["report", "summary"]),
}


def test_every_slide_gets_every_stage(project: Project) -> None:
    assert project.planned() == {
        "all": 1,
        "tile": 2,
        "pretrain": 1,
        "activate": 2,
        "pseudomask": 2,
        "train": 1,
        "segment": 2,
        "stitch": 2,
        "export": 4,
        "project": 1,
        "evaluate": 1,
        "report": 1,
        "summary": 1,
    }


def test_what_is_not_asked_for_is_not_planned(project: Project) -> None:
    project.configure(export={"formats": ["table", "labels"]})
    project.list_slides("a slides/a.tiff train ", "b slides/b.tiff test ")
    planned = project.planned()
    assert planned["export"] == planned["export_store"] == 2
    assert not {"project", "evaluate"} & set(planned)


def test_annotations_teach_and_are_not_what_their_slide_is_scored_on(project: Project) -> None:
    project.list_slides(
        "a slides/a.tiff train  slides/a.geojson", "b slides/b.tiff train", "c slides/b.tiff test"
    )
    said = project.run("--dry-run", "--printshellcmds", "--until", "train").stdout
    rule = said.partition("rule train:")[2].partition("rule ")[0]
    assert "slides/a.geojson" in rule.partition("output:")[0]
    assert "--annotations=slides/a.geojson --annotations=- " in rule
    assert "evaluate" not in project.planned()


def test_the_activation_network_starts_the_training_if_asked(project: Project) -> None:
    def rule(**training: str) -> str:
        project.configure(training=training)
        said = project.run("--dry-run", "--printshellcmds", "--until", "train").stdout
        return said.partition("rule train:")[2].partition("\nJob stats")[0]

    encoder = "results/models/encoder.pt"
    asked, plain = rule(backbone="resnet18", init="encoder"), rule(backbone="resnet18")
    assert encoder in asked.partition("output:")[0]
    assert f" --encoder={encoder} " in asked
    assert " --init=encoder " in asked
    assert encoder not in plain.partition("output:")[0]
    assert "--encoder" not in plain


def test_segment_anything_is_asked_by_the_u_net_and_takes_the_adapter_of_a_slide(
    project: Project,
) -> None:
    points = {"points": "unet"}
    project.configure(models=["sam_lora"], prompting=points, sam={"base": "sam.pth"})
    for name in ("other.pt", "sam.pth"):
        (project.folder / name).touch()
    (project.folder / "config/slides.tsv").write_text(
        "slide\tpath\tadapter\na\tslides/a.tiff\tother.pt\nb\tslides/b.tiff\t\n"
    )
    said = project.run("--dry-run", "--printshellcmds", "--until", "segment").stdout
    commands = {
        word: [line for line in said.splitlines() if f" wsipsm {word} " in line]
        for word in ("train", "segment")
    }
    assert sum("--sam-base=sam.pth" in line for line in commands["train"]) == 1
    assert len(commands["train"]) == len(commands["segment"]) == 2
    assert all("--prompts=results/models/unet.pt" in line for line in commands["segment"])
    assert all("--prompting-points=unet" in line for line in commands["segment"])
    for model, slide in (("other.pt", "a"), ("results/models/sam_lora.pt", "b")):
        start = f"wsipsm segment results/slides/{slide}/tiles.zarr {model} "
        assert any(start in line for line in commands["segment"])


def test_a_batch_holds_its_share_of_the_slides_and_the_models(project: Project) -> None:
    slides = [f"{letter} slides/a.tiff {'test' if letter > 'b' else 'train'} " for letter in "abcd"]
    project.list_slides(*slides)
    planned = project.planned("--batch", "project=1/2", "--", "results/qupath/unet")
    assert planned["train"] == 1
    assert planned["segment"] < 4
    assert planned["tile"] < 4


@pytest.mark.parametrize("profile", ["local", "slurm", "generic"])
def test_profiles_are_read(project: Project, profile: str) -> None:
    path = REPOSITORY / "workflow/profiles" / profile
    assert project.planned("--workflow-profile", str(path))["tile"] == 2


def test_memory_and_time_follow_the_size_of_the_slide(project: Project) -> None:
    with (project.folder / "slides/b.tiff").open("wb") as file:
        file.truncate(2 * 10**9)
    said = project.run("--dry-run", "--until", "tile").stdout
    jobs = re.findall(r"wildcards: slide=(\w)\n.*?resources: ([^\n]*)", said, re.S)
    asked = {
        slide: [re.search(rf"{name}=(\d+)", resources)[1] for name in ("mem_mb", "runtime")]
        for slide, resources in jobs
    }
    assert asked == {"a": ["4000", "120"], "b": ["6000", "360"]}


def test_the_time_of_training_and_inference_follows_the_members(project: Project) -> None:
    (project.folder / "sam.pth").touch()
    members, base = {"members": 3}, {"base": "sam.pth"}
    project.configure(models=["unet", "sam_lora"], training=members, sam=base)
    said = project.run("--dry-run", "--until", "segment").stdout
    jobs = re.findall(
        r"rule (train|segment):\n.*?model=(\w+)\n.*?resources: [^\n]*runtime=(\d+)", said, re.S
    )
    assert set(jobs) == {
        ("train", "unet", "1440"),
        ("train", "sam_lora", "480"),
        ("segment", "unet", "720"),
        ("segment", "sam_lora", "240"),
    }


def test_snakemakes_own_report_carries_the_pages(finished: Project, tmp_path: Path) -> None:
    report = tmp_path / "report.zip"
    done = finished.run("--report", str(report))
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(report) as archive:
        texts = [archive.read(name) for name in archive.namelist() if name.endswith(".html")]
    assert any(b"Cells of the cohort" in text for text in texts)
    assert any(b"The cohort at a glance" in text for text in texts)


@pytest.mark.slow
def test_lists_of_many_slides_reach_the_commands_by_file(project: Project) -> None:
    names = [f"slide_{number:04d}_{ascii_letters}" for number in range(450)]
    project.list_slides(*(f"{name} slides/a.tiff train " for name in names))
    said = project.run("--dry-run", "--printshellcmds", "--until", "report").stdout
    (command,) = re.findall(r"wsipsm report .*", said)
    (path,) = re.findall(r"@(\S+)", command)
    words = shlex.split((project.folder / path).read_text())
    assert [f"--slides={name}" for name in names] == words[:450]
    assert len(command) < 1000


def test_wrong_setting_is_one_sentence_and_exit_code_2(project: Project) -> None:
    project.configure(tiling={"tile_px": 100})
    done = project.run("--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("wsipsm: config/config.yaml: tiling.tile_px: ")
    assert done.stdout.count("\n") == 1


def test_weights_that_are_not_there_are_one_sentence_and_exit_code_2(project: Project) -> None:
    project.configure(models=["sam_lora"], sam={"base": "no.pth"})
    done = project.run("--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("wsipsm: sam.base: no.pth: no such file; get sam_vit_b_")
    assert done.stdout.count("\n") == 1


def test_a_start_from_another_network_is_one_sentence_and_exit_code_2(project: Project) -> None:
    project.configure(training={"init": "encoder"})
    done = project.run("--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("wsipsm: training.init: encoder, but training.backbone is small")
    assert done.stdout.count("\n") == 1


def test_maps_of_a_model_without_maps_are_one_sentence_and_exit_code_2(project: Project) -> None:
    project.configure(models=["unet", "sam_lora"], inference={"maps": True})
    done = project.run("--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("wsipsm: inference.maps: sam_lora draws cells one by one")
    assert done.stdout.count("\n") == 1


def test_wrong_slide_sheet_is_one_sentence_and_exit_code_2(project: Project) -> None:
    project.list_slides("a slides/a.tiff train ", "b slides/gone.tiff train ")
    done = project.run("--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("wsipsm: config/slides.tsv: slide 'b': slides/gone.tiff: ")
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_finished_run_says_where_everything_is(finished: Project) -> None:
    lines = (finished.results / "summary.txt").read_text().splitlines()
    assert lines[0].startswith("match with the truth: unet: F1 ")
    assert lines[-1] == "2 slides done, 0 quarantined"
    assert (finished.results / "report/index.html").is_file()
    assert (finished.results / "qupath/unet/project.qpproj").is_file()
    for slide in ("phantom_1", "phantom_2"):
        assert (finished.results / f"slides/{slide}/unet/cells.geojson.zip").is_file()
    assert (finished.results / "quarantine.tsv").read_text() == "slide\tstage\treason\n"


@pytest.mark.slow
def test_nothing_is_left_to_do(finished: Project) -> None:
    assert finished.planned() == {}


@pytest.mark.slow
@pytest.mark.parametrize("section", CHANGES)
def test_edited_section_runs_again_what_depends_on_it(finished: Project, section: str) -> None:
    change, rules = CHANGES[section]
    finished.configure(**{section: change})
    try:
        assert set(finished.planned()) == {*rules, "all"}
    finally:
        finished.configure()


@pytest.mark.slow
def test_bad_slide_is_set_aside_and_said_in_every_run(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    (project.folder / "broken.svs").write_text("not a slide")
    sheet = project.folder / "config/slides.tsv"
    sheet.write_text(sheet.read_text() + "broken\tbroken.svs\ttest\t\n")

    for _ in range(2):
        done = project.run()
        assert done.returncode == 1
        said = done.stdout.splitlines()[-1]
        assert said == "2 slides done, 1 quarantined: see results/quarantine.tsv"

    header, row = (project.results / "quarantine.tsv").read_text().splitlines()
    assert header.split("\t") == ["slide", "stage", "reason"]
    assert row.split("\t")[0] == "broken"
    assert "broken.svs" in row.split("\t")[2]
    assert project.planned() == {"summary": 1, "all": 1}

    sheet.write_text(sheet.read_text().replace("broken\tbroken.svs\ttest\t\n", ""))
    done = project.run()
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "2 slides done, 0 quarantined"
