"""Artefacts of drawn slides against their truth, and of real slides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape
from skimage.draw import polygon2mask

from wsipsm.config import Tiling
from wsipsm.io.slide import open_slide
from wsipsm.phantom.artefacts import artefact_polygons
from wsipsm.phantom.paint import paint
from wsipsm.phantom.scene import INKS, Scene, look
from wsipsm.phantom.truth import write_artefacts
from wsipsm.tiling.artefacts import find_artefacts, focus, ink, left_out, soft_density
from wsipsm.tiling.tissue import tissue_mask
from wsipsm.types import Region

SIZE_PX, MIN_FOCUS = 1024, Tiling().min_focus
KINDS = ("pen", "fold", "bubble")


@dataclass(frozen=True)
class Spoilt:
    """A drawn slide of about a millimetre: pixels (3, y, x) at 1 micron, overview at 2, truth."""

    scene: Scene
    pixels: NDArray[np.uint8]
    overview: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    truth: dict[str, shapely.Polygon]

    def true_mask(self, kind: str) -> NDArray[np.bool_]:
        return drawn(self.truth[kind], self.overview.shape[1:])


def drawn(outline: shapely.Polygon, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask of an outline in pixels of half the size."""
    return np.asarray(polygon2mask(size, np.array(outline.exterior.coords)[:, ::-1] / 2 - 0.5))


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (y, x, 3) at half its resolution, (3, y, x)."""
    size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    half = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(half.transpose(2, 0, 1))


def tissue_of(overview: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    density = soft_density(overview, mpp=mpp)
    return tissue_mask(density, ink(density, mpp=mpp), mpp=mpp, min_area_um2=4000)


def artefacts_of(
    overview: NDArray[np.uint8], mpp: float, *, tissue: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    density = soft_density(overview, mpp=mpp)
    return find_artefacts(density, ink(density, mpp=mpp), mpp=mpp, tissue=tissue)


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    scene = Scene(seed=1, size_px=SIZE_PX, mpp=1.0, stain="he")
    path = tmp_path_factory.mktemp("truth") / "artefacts.geojson"
    write_artefacts(scene, path, name="spoilt")
    features = orjson.loads(path.read_bytes())["features"]
    truth = {
        one["properties"]["classification"]["name"]: shape(one["geometry"]) for one in features
    }
    pixels = paint(scene, Region(0, 0, SIZE_PX, SIZE_PX))
    overview = halved(pixels)
    tissue = tissue_of(overview, 2)
    return Spoilt(scene, pixels.transpose(2, 0, 1), overview, tissue, truth)


@pytest.mark.parametrize(("kind", "least"), [("pen", 0.9), ("fold", 0.65), ("bubble", 0.9)])
def test_artefacts_are_where_they_were_drawn(spoilt: Spoilt, kind: str, least: float) -> None:
    found = artefacts_of(spoilt.overview, 2, tissue=spoilt.tissue)
    assert set(found) == set(KINDS)
    assert overlap(found[kind], spoilt.true_mask(kind)) > least


@pytest.mark.parametrize("ink", INKS)
def test_every_ink_is_found_and_is_no_tissue(ink: str) -> None:
    scenes = (Scene(seed=seed, size_px=SIZE_PX, mpp=1.0, stain="he") for seed in range(50))
    scene = next(scene for scene in scenes if look(scene).ink == ink)
    pen = artefact_polygons(scene)["pen"]
    left, top, right, bottom = (2 * int(at // 2) for at in pen.buffer(20).bounds)
    overview = halved(paint(scene, Region(top, left, bottom - top, right - left)))
    truth = drawn(shapely.transform(pen, lambda xy: xy - (left, top)), overview.shape[1:])
    tissue = tissue_of(overview, 2)
    assert overlap(artefacts_of(overview, 2, tissue=tissue)["pen"], truth) > 0.85
    assert (tissue & truth).sum() < 0.05 * truth.sum()


def test_tissue_is_where_it_was_drawn(spoilt: Spoilt) -> None:
    inside = spoilt.scene.tissue(Region(0, 0, SIZE_PX, SIZE_PX))[::2, ::2] > 0
    assert overlap(spoilt.tissue, inside) > 0.93


def test_blur_is_found_and_what_is_sharp_is_not_lost() -> None:
    mpp, side_px = 0.25, 1024
    scene = Scene(seed=1, size_px=4 * SIZE_PX, mpp=mpp, stain="he")
    blur = artefact_polygons(scene)["blur"]
    start = Region(int(blur.centroid.y), int(blur.centroid.x), side_px, side_px)
    pixels = paint(scene, start).transpose(2, 0, 1)
    blurred: list[float] = []
    sharp: list[float] = []
    for y, x in product(range(0, side_px, side_px // 8), repeat=2):
        tile = Region(y, x, side_px // 8, side_px // 8)
        box = shapely.box(
            start.x + x, start.y + y, start.x + x + tile.width, start.y + y + tile.height
        )
        score = focus(pixels[(slice(None), *tile.slices)], mpp=mpp)
        if blur.contains(box):
            blurred.append(score)
        elif not blur.intersects(box):
            sharp.append(score)
    assert len(blurred) >= 2
    assert len(sharp) >= 10
    assert max(blurred) < MIN_FOCUS < min(sharp)


def test_focus_does_not_depend_on_the_strength_of_the_stain(spoilt: Spoilt) -> None:
    tile = spoilt.pixels[:, 256:512, 384:640]
    pale = (255 * (tile / 255) ** 0.4).astype(np.uint8)
    assert focus(pale, mpp=1.0) == pytest.approx(focus(tile, mpp=1.0), abs=0.07)
    assert focus(np.full_like(tile, 240), mpp=1.0) == 1
    assert focus(np.full_like(tile, 120), mpp=1.0) == 1
    assert focus(tile, mpp=4.0) == 1


def test_a_tile_of_any_shape_has_a_focus(spoilt: Spoilt) -> None:
    for height, width in [(1, 1), (1, 300), (300, 1), (33, 517)]:
        for mpp in (0.1, 0.25, 0.6):
            assert 0 <= focus(spoilt.pixels[:, 300 : 300 + height, 300 : 300 + width], mpp=mpp) <= 1


def test_blank_and_tiny_overviews_hold_nothing() -> None:
    for size in [(1, 1), (3, 5), (200, 300)]:
        blank = np.full((3, *size), 243, np.uint8)
        found = artefacts_of(blank, 4, tissue=np.ones(size, bool))
        assert not any(mask.any() for mask in found.values())


def test_tiles_are_left_out_for_what_is_excluded_only() -> None:
    scores = {kind: np.full((1, 3), 0.1, np.float32) for kind in (*KINDS, "blur")}
    scores["pen"][0, 0] = scores["fold"][0, 1] = 0.6
    scores["blur"][0, 2] = 0.8
    limits: dict[str, Any] = {"max_share": 0.5, "min_focus": MIN_FOCUS}
    assert left_out(scores, exclude=("pen", "blur"), **limits).tolist() == [[True, False, True]]
    assert left_out(scores, exclude=("fold",), **limits).tolist() == [[False, True, False]]
    assert not left_out(scores, exclude=(), **limits).any()
    assert not left_out(scores, exclude=("pen",), max_share=0.6, min_focus=0).any()


def test_a_slide_that_is_soft_all_over_keeps_its_tiles() -> None:
    scores = {"blur": np.array([[0, 0, 0.9, 0.8, 0.2]], np.float32)}
    assert not left_out(scores, exclude=("blur",), max_share=0.5, min_focus=0.3).any()
    scores["blur"][0, 1] = 0.2
    found = left_out(scores, exclude=("blur",), max_share=0.5, min_focus=0.3)
    assert found.tolist() == [[False, False, True, True, False]]


def real_overview(path: Path) -> tuple[NDArray[np.uint8], float]:
    with open_slide(path) as slide:
        mpp = max(2.0, slide.mpp)
        return slide.read(Region(0, 0, *slide.size_at(mpp)), mpp=mpp), mpp


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["wsi_mosaic/monuseg_train4.tiff", "wsi/slides/CMU-1-Small-Region.svs"]
)
def test_nothing_is_found_on_clean_slides(test_data: Path, name: str) -> None:
    overview, mpp = real_overview(test_data / name)
    tissue = tissue_of(overview, mpp)
    found = artefacts_of(overview, mpp, tissue=tissue)
    assert {kind: int(mask.sum()) for kind, mask in found.items()} == dict.fromkeys(KINDS, 0)


@pytest.mark.real_data
def test_a_real_fold_is_found(test_data: Path) -> None:
    overview, mpp = real_overview(test_data / "wsi/slides/CMU-small.tiff")
    tissue = tissue_of(overview, mpp)
    found = artefacts_of(overview, mpp, tissue=tissue)
    rows, cols = np.nonzero(found["fold"])
    assert len(rows) > 500
    assert (rows.min() > 60, rows.max() < 105, cols.min() > 550, cols.max() < 670) == (True,) * 4
    assert not found["bubble"].any()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "mpp"),
    [("wsi_mosaic/monuseg_train4.tiff", 0.25), ("wsi/slides/CMU-1-Small-Region.svs", 0.499)],
)
def test_real_tiles_are_sharp_until_they_are_blurred(
    test_data: Path, name: str, mpp: float
) -> None:
    with open_slide(test_data / name) as slide:
        pixels = slide.read(Region(0, 0, slide.height_px, slide.width_px), mpp=slide.mpp)
    scores = []
    for y in range(0, pixels.shape[1] - 511, 512):
        for x in range(0, pixels.shape[2] - 511, 512):
            tile = pixels[:, y : y + 512, x : x + 512]
            soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5 / mpp) for plane in tile])
            scores.append((focus(tile, mpp=mpp), focus(soft, mpp=mpp), (tile[1] < 212).mean()))
    sharp, soft, tissue = np.array(scores).T
    assert sharp.min() > MIN_FOCUS
    assert soft[tissue > 0.3].max() < MIN_FOCUS
