"""Every setting, defined once: type, range, default and description; and the slide sheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsipsm.errors import SettingsError

Stain = Literal["he", "ihc"]
Proxy = Literal["stain", "similarity", "contrastive", "rotation", "simsiam", "mean_pixel"]
Control = Literal["stain_otsu", "rgb_kmeans", "untrained_psm"]
ExportFormat = Literal["qupath", "table"]
ClassName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f:]+$")]


class Section(BaseModel):
    """Base of all sections: frozen, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Section)


class Tiling(Section):
    """Stage 1: slide to tiles."""

    mpp: float = Field(0.25, ge=0.05, le=10, description="working resolution, microns per pixel")
    tile_px: int = Field(512, ge=64, le=4096, multiple_of=32, description="side of a tile")
    shard_tiles: int = Field(4, ge=1, le=32, description="tiles along the side of a shard")
    min_tissue_share: float = Field(
        0.02, ge=0, le=1, description="smallest share of tissue in a tile that is kept"
    )
    min_tissue_um2: float = Field(
        4000, ge=0, description="smallest piece of tissue, square microns"
    )


class Pretraining(Section):
    """Stage 2: the activation network, trained on unlabelled tiles."""

    backbone: str = Field("resnet18", description="timm network; the paper: res2net101_26w_4s")
    proxy: Proxy = Field("stain", description="self-supervised task; the paper: similarity")
    steps: int = Field(60, ge=0, description="training steps")
    batch: int = Field(8, ge=1, description="tiles in a step")
    tile_px: int = Field(128, ge=64, multiple_of=32, description="side of a training tile")
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate of Adam")


class Activation(Section):
    """Stage 3: prior self-activation maps."""

    layer: Literal["layer1", "layer2", "layer3", "layer4"] = Field(
        "layer1", description="stage of the backbone whose blocks are tapped"
    )
    weights: Literal["slide", "tile"] = Field(
        "slide", description="channel weights: one set for a slide, or each tile's (the paper)"
    )
    halo_um: float = Field(8, ge=0, description="border read around a tile, microns")
    sample_tiles: int = Field(
        12, ge=1, description="tiles that set a slide's orientation and range of values"
    )


class Pseudomasks(Section):
    """Stage 4: activation maps and stain to pseudo masks."""

    classes: tuple[ClassName, ...] = Field(
        ("nucleus",), min_length=1, max_length=8, description="names, by rising stain density"
    )
    psm_weight: float = Field(
        0.25, ge=0, description="weight of the activation map beside stain density"
    )
    smoothing_um: float = Field(0.4, ge=0, description="Gaussian sigma of stain density, microns")
    context_um: float = Field(
        10, gt=0, description="Gaussian sigma of the local mean a pixel is compared with, microns"
    )
    sample_pixels: int = Field(200_000, ge=1000, description="pixels that fit a slide's codebook")
    min_density: float = Field(
        0.12, ge=0, description="foreground is darker than this optical density"
    )
    ignore_margin: float = Field(
        0.1, ge=0, le=1, description="share of the way between clusters that is left unlabelled"
    )
    min_area_um2: float = Field(8, ge=0, description="smallest object, square microns")
    opening_um: float = Field(1.0, ge=0, description="radius of the opening of an object, microns")
    seed_distance_um: float = Field(1.75, gt=0, description="least distance of two nuclei, microns")


class Training(Section):
    """Stage 5: the downstream network, trained on pseudo masks."""

    backbone: str = Field("small", description="small, or a timm network; the paper: resnet34")
    steps: int = Field(250, ge=1, description="training steps")
    batch: int = Field(8, ge=1, description="tiles in a step")
    tile_px: int = Field(160, ge=64, multiple_of=32, description="side of a training tile")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-3, ge=0, description="weight decay of AdamW")
    voronoi_weight: float = Field(
        1.5, ge=0, description="weight of the Voronoi loss beside the pseudo mask's"
    )
    distance_weight: float = Field(2.0, ge=0, description="weight of the distance head's loss")
    averaging: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights")


class Inference(Section):
    """Stage 6: model to cells of every tile."""

    halo_um: float = Field(12, ge=0, description="border read around a tile, microns")
    batch: int = Field(4, ge=1, description="tiles in a batch")
    foreground: float = Field(0.5, gt=0, lt=1, description="least foreground probability")
    seed_height: float = Field(
        0.1, ge=0, le=1, description="least rise of a peak of the distance map over its saddle"
    )
    seed_distance: float = Field(0.3, ge=0, le=1, description="least height of a peak")
    min_area_um2: float = Field(6, ge=0, description="smallest cell, square microns")


class Stitching(Section):
    """Stage 7: cells of tiles to cells of the slide."""

    overlap: float = Field(
        0.4, gt=0, le=1, description="share of the smaller outline that makes two cells one"
    )


class Export(Section):
    """Stage 8: files for other programs."""

    formats: tuple[ExportFormat, ...] = Field(
        ("qupath", "table"), description="qupath: zip of GeoJSON parts; table: measurements"
    )
    part_features: int = Field(10_000, ge=1, description="cells in one GeoJSON part")


class Evaluation(Section):
    """Stage 9: cells against truth."""

    iou: float = Field(0.5, ge=0.1, lt=1, description="overlap that makes a match")
    radius_um: float = Field(3, gt=0, description="distance that makes a detection, microns")
    field_um: float = Field(
        125, gt=0, description="side of the fields that are resampled for intervals, microns"
    )
    resamples: int = Field(1000, ge=100, description="bootstrap resamples")
    controls: tuple[Control, ...] = Field(
        ("stain_otsu", "rgb_kmeans", "untrained_psm"), description="plain methods scored beside"
    )


class Report(Section):
    """Stage 10: one page for the cohort."""

    overview_px: int = Field(900, ge=100, description="longest side of a slide's overview")
    detail_um: float = Field(100, gt=0, description="side of the detail views, microns")


class Config(Section):
    """The whole configuration file."""

    slides: str = Field("config/slides.tsv", description="the slide sheet")
    results: str = Field("results", description="folder of all products")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of every draw by chance")
    models: tuple[Literal["unet"], ...] = Field(("unet",), min_length=1, description="segmenters")
    tiling: Tiling = Tiling()
    pretraining: Pretraining = Pretraining()
    activation: Activation = Activation()
    pseudomasks: Pseudomasks = Pseudomasks()
    training: Training = Training()
    inference: Inference = Inference()
    stitching: Stitching = Stitching()
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()


class SlideRow(Section):
    """One row of the slide sheet."""

    slide: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    path: str = Field(min_length=1)
    mpp: float | None = Field(None, ge=0.05, le=10)
    stain: Stain = "he"
    split: Literal["train", "test"] = "train"
    annotations: str | None = None


def parse(section: type[S], values: dict[str, Any], *, where: str) -> S:
    """Validate `values` as a section; `SettingsError` names the first wrong key in one sentence."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {key}: {first['msg']} (got {str(first['input'])[:80]!r})"
        raise SettingsError(f"{message}; see config/README.md") from None


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


def settings_table() -> str:
    """Markdown table of every setting: name, default, what is allowed, description."""
    schema = Config.model_json_schema()
    lines = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        section = field.get_default()
        if isinstance(section, Section):
            properties = schema["$defs"][type(section).__name__]["properties"]
            lines += [_table_row(f"{name}.{key}", value) for key, value in properties.items()]
        else:
            lines.append(_table_row(name, schema["properties"][name]))
    return "\n".join(lines)


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
        for name in filter(None, (row.path, row.annotations)):
            if not Path(name).exists():
                raise SettingsError(
                    f"{path}: slide {row.slide!r}: {name}: no such file; correct the path"
                    " (the demonstration's slides are drawn by `wsipsm phantom slides`)"
                )


def _table_row(name: str, schema: dict[str, Any]) -> str:
    default = schema["default"]
    shown = ", ".join(default) if isinstance(default, list | tuple) else default
    return f"| `{name}` | {shown} | {_allowed(schema)} | {schema['description']} |"


def _allowed(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words: `number, >= 0, < 1`, or `list of he, ihc`."""
    if schema["type"] == "array":
        return f"list of {_allowed(schema['items'])}"
    if "enum" in schema or "const" in schema:
        return ", ".join(schema.get("enum") or [schema["const"]])
    words = {
        "minimum": ">= {}",
        "exclusiveMinimum": "> {}",
        "maximum": "<= {}",
        "exclusiveMaximum": "< {}",
        "multipleOf": "multiple of {}",
    }
    bounds = [words[key].format(schema[key]) for key in words if key in schema]
    return ", ".join([{"string": "text"}.get(schema["type"], schema["type"]), *bounds])
