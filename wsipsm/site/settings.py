"""The configuration and the slide sheet as the workflow would read them in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsipsm.config import Config, parse
from wsipsm.errors import SettingsError
from wsipsm.sheet import read_slide_sheet


@dataclass(frozen=True)
class Run:
    """What a run in `folder` is to make: results, slides, models, formats of export."""

    folder: Path
    results: Path
    slides: tuple[str, ...]
    models: tuple[str, ...]
    formats: tuple[str, ...]


def read_run(folder: Path, configfile: Path = Path("config/config.yaml")) -> Run:
    """Read what the workflow is to make in `folder`, its working folder.

    Raises
    ------
    SettingsError
        The configuration or the slide sheet is absent or wrong.
    """
    path = folder / configfile
    config = parse(Config, read_yaml(path), where=str(path))
    former = Path.cwd()
    os.chdir(folder)  # the paths of the sheet are relative to it
    try:
        rows = read_slide_sheet(Path(config.slides))
    finally:
        os.chdir(former)
    return Run(
        folder=folder,
        results=folder / config.results,
        slides=tuple(row.slide for row in rows),
        models=config.models,
        formats=config.export.formats,
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Values of a YAML file.

    Raises
    ------
    SettingsError
        There is no such file, or it is not a YAML mapping.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such file; run this in the folder of the workflow")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{path}: not YAML ({reason}); correct it") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: not a mapping of names to values; correct it")
    return values
