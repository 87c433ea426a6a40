"""The slide sheet: one row for each slide, validated before anything runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsipsm.config import Section, Stain, parse
from wsipsm.errors import SettingsError


class SlideRow(Section):
    """One row of the slide sheet."""

    slide: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    path: str = Field(min_length=1)
    mpp: float | None = Field(None, ge=0.05, le=10)
    stain: Stain = "he"
    split: Literal["train", "test"] = "train"
    annotations: str | None = None
    truth: str | None = None
    adapter: str | None = None

    @property
    def lesson(self) -> str | None:
        """Annotations that teach the segmenters: those of a slide to learn from."""
        return self.annotations if self.split == "train" else None

    @property
    def scored_on(self) -> str | None:
        """What cells are scored against: the truth, or annotations that nothing learns from."""
        return self.truth or (self.annotations if self.split == "test" else None)


def read_slide_sheet(path: Path) -> list[SlideRow]:
    """Rows of a tab-separated slide sheet, validated.

    Raises
    ------
    SettingsError
        The first mistake, such as an unknown column, a name twice, or a file that is not there.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such slide sheet; set `slides` in config/config.yaml")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t")
            _check_columns(path, reader.fieldnames or [])
            rows = [_parse_row(path, reader.line_num, row) for row in reader if any(row.values())]
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text; save the sheet as text with tabs") from None
    if not rows:
        raise SettingsError(f"{path}: no slides; add one row for each slide")
    if all(row.split != "train" for row in rows):
        raise SettingsError(f"{path}: no slide to learn from; give one or more the split 'train'")
    _check_names(path, rows)
    _check_files(path, rows)
    return rows


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in SlideRow.model_fields]
    missing = [name for name in ("slide", "path") if name not in columns]
    if unknown:
        raise SettingsError(
            f"{path}: unknown column {unknown[0]!r}; columns are {', '.join(SlideRow.model_fields)}"
            " (separated by tabs)"
        )
    if missing:
        raise SettingsError(f"{path}: column {missing[0]!r} is missing; add it to the first line")
    if len(set(columns)) < len(columns):
        raise SettingsError(f"{path}: a column is named twice; keep one of them")


def _parse_row(path: Path, line: int, row: dict[Any, Any]) -> SlideRow:
    if None in row:
        raise SettingsError(f"{path} line {line}: more cells than columns; check the tabs")
    values = {key: value.strip() for key, value in row.items() if value and value.strip()}
    return parse(SlideRow, values, where=f"{path} line {line}")


def _check_names(path: Path, rows: list[SlideRow]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.slide.casefold() in seen:
            raise SettingsError(f"{path}: slide {row.slide!r} is named twice; names must differ")
        if re.search(r"\.\.|\.$", row.slide):
            raise SettingsError(f"{path}: slide {row.slide!r} is unfit for a path; rename it")
        seen.add(row.slide.casefold())


def _check_files(path: Path, rows: list[SlideRow]) -> None:
    for row in rows:
        if row.lesson and row.lesson == row.truth:
            raise SettingsError(
                f"{path}: slide {row.slide!r}: {row.truth} cannot both teach and be scored"
                " against; name it in `annotations` or in `truth`"
            )
        for name in filter(None, (row.path, row.annotations, row.truth, row.adapter)):
            if not Path(name).exists():
                raise SettingsError(
                    f"{path}: slide {row.slide!r}: {name}: no such file; correct the path"
                    " (the demonstration's slides are drawn by `wsipsm phantom slides`)"
                )
