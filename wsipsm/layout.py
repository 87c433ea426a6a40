"""The folder of a project: laid out, and what to do next in it; where the workflow is installed."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from wsipsm.config import Config, Stain
from wsipsm.errors import SettingsError
from wsipsm.sheet import SlideRow

_SHIPPED = "shipped"
"""Folder of a built package that holds the workflow; a working tree has it at its top."""

_CONFIG = "config/config.yaml"

_COPIED = (
    _CONFIG,
    "config/README.md",
    "config/config.schema.json",
    "workflow/profiles/local/config.yaml",
    "workflow/profiles/slurm/config.yaml",
    "workflow/profiles/generic/config.yaml",
    "workflow/profiles/generic/submit",
    "workflow/profiles/generic/status",
    "workflow/profiles/generic/cancel",
)
"""What the user edits, or reads beside it."""

_SNAKEFILE = (
    "from wsipsm.layout import snakefile\ninclude: snakefile(), overwrite_default_target=True\n"
)


def snakefile() -> str:
    """Path of the Snakefile that belongs to the installed package.

    Raises
    ------
    SettingsError
        The package was installed without its workflow.
    """
    return str(_tree() / "Snakefile")


def lay_out(
    folder: Path,
    slides: Sequence[Path] = (),
    *,
    stain: Stain = "he",
    mpp: float | None = None,
) -> list[Path]:
    """Write what a new project needs: configuration, slide sheet, profiles and a Snakefile.

    The Snakefile includes that of the installed package, so that a newer package brings newer
    rules; all else is the user's to edit.

    Parameters
    ----------
    folder
        Made where it is missing.
    slides
        Files that get a row in the slide sheet each; without them it has its first line only.
    stain
        Of all of them.
    mpp
        Working resolution for the configuration, microns per pixel; None: as it is shipped.

    Returns
    -------
    list[Path]
        The files, in the order in which they were written.

    Raises
    ------
    SettingsError
        One of the files is there already, or a slide is not; nothing is written then.
    """
    texts = {name: (_tree() / name).read_text(encoding="utf-8") for name in _COPIED}
    texts |= {"Snakefile": _SNAKEFILE, "config/slides.tsv": ""}
    for name in texts:
        if (folder / name).exists():
            raise SettingsError(f"{folder / name}: is there already; name another folder")
    rows = _rows(folder, slides, stain)
    if mpp is not None:
        texts[_CONFIG] = re.sub(r"^( +mpp:) \S+", rf"\1 {mpp:g}", texts[_CONFIG], flags=re.M)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        if name in _COPIED:
            shutil.copymode(_tree() / name, folder / name)
    with (folder / "config/slides.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, SlideRow.model_fields, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return [folder / name for name in texts]


def next_steps(folder: Path) -> list[str]:
    """Say in a few lines what a project in `folder` has come to, and what to do next.

    Raises
    ------
    SettingsError
        Its configuration cannot be read.
    """
    profile = "snakemake --workflow-profile workflow/profiles/local"
    if not (folder / "Snakefile").is_file() or not (folder / _CONFIG).is_file():
        return [
            "This folder holds no project yet.",
            "wsipsm init FOLDER SLIDES... lays one out for your slides",
            "wsipsm phantom FOLDER draws slides with known nuclei to try it on",
            "wsipsm --help lists all commands",
        ]
    results = folder / _results(folder / _CONFIG)
    report, aside = results / "report/index.html", results / "quarantine.tsv"
    if not report.is_file():
        if results.is_dir():
            return [
                "The run has begun:",
                "how far it is: wsipsm status",
                "go on: wsipsm resume --workflow-profile workflow/profiles/local",
            ]
        return ["The run has not begun:", f"see what it would do: {profile} --dry-run", profile]
    cells = sorted(results.glob("slides/*/*/cells.parquet"))
    return [
        f"report: {report}",
        *(f"QuPath: {path}" for path in sorted(results.glob("qupath/*/project.qpproj"))),
        *(f"in a browser: wsipsm view {shlex.quote(str(path))}" for path in cells[:1]),
        f"slides set aside: {max(0, len(aside.read_text().splitlines()) - 1)} ({aside})",
        "slide by slide: wsipsm status",
        f"after a change: {profile}",
    ]


def _results(config: Path) -> str:
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        return str(values.get("results", Config().results))
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        raise SettingsError(f"{config}: not YAML with names and values; correct it") from None


def _tree() -> Path:
    """Where the workflow is: inside the built package, or at the top of the working tree."""
    package = Path(__file__).parent
    for place in (package / _SHIPPED, package.parent):
        if (place / "Snakefile").is_file() and (place / "workflow/rules").is_dir():
            return place
    raise SettingsError(f"{package}: holds no workflow; install the package from its wheel")


def _rows(folder: Path, slides: Sequence[Path], stain: Stain) -> list[dict[str, str]]:
    """A row of the slide sheet for each file, its name made of letters that the sheet takes."""
    rows: list[dict[str, str]] = []
    taken: set[str] = set()
    for slide in slides:
        if not slide.exists():
            raise SettingsError(f"{slide}: no such slide; check its path")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", slide.stem).strip("_-")[:90] or "slide"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        path = _as_seen_from(folder, slide)
        rows.append({"slide": name, "path": path, "stain": stain, "split": "train"})
    return rows


def _as_seen_from(folder: Path, slide: Path) -> str:
    """Path of a slide for the sheet: relative where it lies in the folder, else absolute."""
    absolute, base = slide.absolute(), folder.absolute()
    return str(absolute.relative_to(base) if absolute.is_relative_to(base) else absolute)
