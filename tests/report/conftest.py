"""A folder of results with slides done and set aside, and a reader of the page."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wsipsm.config import Evaluation, Report
from wsipsm.evaluation.evaluate import evaluate
from wsipsm.io.parquet import read_cells, write_cells
from wsipsm.io.product import quarantine, read_record
from wsipsm.report.report import report

HOSTILE = '<img src=x onerror="alert(1)">'
CLASSES = ["<script>alert(1)</script>", r"$\frac{ & 'x", "../../a b", '"Ω" \u202e細胞', "long" * 80]
REASON = 'b.svs: no mpp in the file;\n<script>set</script> the "mpp"\tcolumn'
VOID = {"meta", "img", "br", "link", "input", "hr"}


@dataclass(frozen=True)
class Results:
    """A folder of results, and how to report on it."""

    folder: Path

    @property
    def page(self) -> Path:
        return self.folder / "report/index.html"

    @property
    def table(self) -> Path:
        return self.folder / "quarantine.tsv"

    def report(self, *slides: str, **changes: Any) -> str:
        settings = Report(overview_px=300, detail_um=40, **changes)
        report(
            self.folder,
            self.page,
            slides=slides,
            models=("unet",),
            quarantined=self.table,
            settings=settings,
        )
        return self.page.read_text(encoding="utf-8")


@dataclass
class Page(HTMLParser):
    """Elements of a page in order, and its text; an element left open or closed twice fails."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "script"} & set(self.open):
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str | None = None) -> str:
        return "\n".join(text for name, text in self.texts if tag in (None, name))

    def images(self) -> list[Image.Image]:
        found = []
        for image in self.all("img"):
            kind, content = image["src"].split(";base64,")
            opened = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
            opened.load()
            assert kind == f"data:image/{(opened.format or '').lower()}"
            found.append(opened)
        return found


def read_page(text: str) -> Page:
    page = Page()
    page.feed(re.sub(r"^<!DOCTYPE html>\n", "", text))
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="session")
def read() -> Callable[[str], Page]:
    """Parse a page, strictly."""
    return read_page


@pytest.fixture(scope="session")
def results(products: Any, drawn_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Slides `phantom_1`, HOSTILE (its classes too), `bad` (set aside), `begun` (only tiles)."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "models").mkdir()
    shutil.copy(products.encoder, folder / "models/encoder.pt")
    shutil.copy(products.unet, folder / "models/unet.pt")
    for name in ("phantom_1", HOSTILE, "bad", "begun"):
        slide = folder / "slides" / name
        (slide / "unet").mkdir(parents=True)
        (slide / "tiles.zarr").symlink_to(products.tiles)
    for name in ("phantom_1", HOSTILE):
        slide = folder / "slides" / name
        (slide / "activation.zarr").symlink_to(products.activation)
        (slide / "pseudomasks.zarr").symlink_to(products.pseudomasks)
        (slide / "unet/tile_cells").symlink_to(products.tile_cells)
    own, hostile = (
        folder / "slides" / name / "unet/cells.parquet" for name in ("phantom_1", HOSTILE)
    )
    shutil.copy(products.cells, own)
    _write_hostile(own, hostile)
    for path in ("activation.zarr", "pseudomasks.zarr", "unet/cells.parquet"):
        stage = "activate" if path == "activation.zarr" else "later"
        quarantine(folder / "slides/bad" / path, stage=stage, reason=REASON)
    _evaluate(folder, own, drawn_slides / "phantom_1.cells.geojson")
    return Results(folder)


def _write_hostile(cells: Path, target: Path) -> None:
    """The same cells, by turns of classes with bad names."""
    table, record = read_cells(cells), read_record(cells)
    names = [CLASSES[i % len(CLASSES)] for i in range(table.num_rows)]
    table = table.set_column(table.column_names.index("class"), "class", [names])
    write_cells(target, table, record | {"classes": CLASSES})


def _evaluate(folder: Path, cells: Path, truth: Path) -> None:
    evaluate(
        folder / "evaluation/unet.json",
        tiles=(cells.parents[1] / "tiles.zarr",),
        cells=(cells,),
        truth=(str(truth),),
        encoder=folder / "models/encoder.pt",
        settings=Evaluation(controls=("stain_otsu",), resamples=100),
        workers=1,
    )
