"""Drawn slides: what is written agrees with itself, and with what was asked for."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import orjson
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from shapely import union_all
from shapely.geometry import Polygon, box, shape

from wsipsm.errors import SettingsError
from wsipsm.models.stain import stain_density
from wsipsm.phantom.artefacts import artefact_polygons
from wsipsm.phantom.nuclei import nuclei
from wsipsm.phantom.paint import paint
from wsipsm.phantom.phantom import draw_slides, write_tiff
from wsipsm.phantom.scene import INKS, Scene
from wsipsm.types import Region

SIZE_PX = 1024
MPP = 0.5


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one H&E and one IHC slide."""
    folder = tmp_path_factory.mktemp("phantom")
    for stain in ("he", "ihc"):
        draw_slides(folder, count=1, size_px=SIZE_PX, mpp=MPP, stain=stain, seed=3)
    return folder


def features(folder: Path, stem: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((folder / f"{stem}.cells.geojson").read_bytes())[
        "features"
    ]
    return found


def polygons(folder: Path, stem: str) -> list[Polygon]:
    return [shape(feature["geometry"]) for feature in features(folder, stem)]


def level(folder: Path, stem: str, name: str = "0") -> NDArray[np.uint32]:
    return np.asarray(zarr.open_group(str(folder / f"{stem}.labels.zarr"), mode="r")[name])


def pixels(path: Path) -> NDArray[np.uint8]:
    """RGB of level 0, (3, y, x)."""
    return np.asarray(tifffile.imread(path, series=0, level=0)).transpose(2, 0, 1)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_openslide_reads_levels_and_mpp(drawn: Path) -> None:
    with openslide.OpenSlide(drawn / "phantom_1.tiff") as slide:
        assert slide.level_dimensions == ((1024, 1024), (256, 256))
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == MPP
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_Y]) == MPP
    with tifffile.TiffFile(drawn / "phantom_1.tiff") as file:
        assert [image.shape for image in file.series[0].levels] == [(1024, 1024, 3), (256, 256, 3)]


def test_levels_show_the_same_slide(drawn: Path) -> None:
    fine = pixels(drawn / "phantom_1.tiff").astype(float)
    coarse = np.asarray(tifffile.imread(drawn / "phantom_1.tiff", series=0, level=1), float)
    means = fine.reshape(3, 256, 4, 256, 4).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert np.abs(means - coarse).mean() < 6


@pytest.mark.parametrize("stem", ["phantom_1", "phantom_ihc_1"])
def test_labels_and_polygons_are_the_same_cells(drawn: Path, stem: str) -> None:
    cells, labels = polygons(drawn, stem), level(drawn, stem)
    assert labels.dtype == np.uint32
    assert len(cells) > 150
    assert all(cell.is_valid and cell.is_simple and not cell.interiors for cell in cells)
    areas = np.bincount(labels.ravel(), minlength=len(cells) + 1)[1:]
    assert len(areas) == len(cells)
    expected = np.array([cell.area for cell in cells])
    assert np.all(np.abs(areas - expected) < 4 + 0.08 * expected)
    assert abs(areas.sum() / expected.sum() - 1) < 0.005


def test_a_label_lies_where_its_polygon_does(drawn: Path) -> None:
    labels = level(drawn, "phantom_1")
    for index, cell in enumerate(polygons(drawn, "phantom_1"), start=1):
        left, top, right, bottom = (int(at) for at in cell.bounds)
        rows, cols = np.nonzero(labels[top : bottom + 1, left : right + 1] == index)
        centre = rows.mean() + top + 0.5, cols.mean() + left + 0.5
        assert np.hypot(centre[0] - cell.centroid.y, centre[1] - cell.centroid.x) < 0.5
        rows, cols = np.nonzero(labels == index)
        assert (
            np.hypot(rows.mean() + 0.5 - cell.centroid.y, cols.mean() + 0.5 - cell.centroid.x) < 1
        )


def test_the_label_pyramid_is_decimated(drawn: Path) -> None:
    group = zarr.open_group(str(drawn / "phantom_1.labels.zarr"), mode="r")
    image = group.attrs["ome"]["multiscales"][0]  # type: ignore[index,call-overload]
    assert [one["path"] for one in image["datasets"]] == ["0", "1"]  # type: ignore[index,call-overload,union-attr]
    np.testing.assert_array_equal(
        level(drawn, "phantom_1", "1"), level(drawn, "phantom_1")[::2, ::2]
    )


def test_features_are_what_qupath_reads(drawn: Path) -> None:
    for stem, names in (("phantom_1", {"nucleus"}), ("phantom_ihc_1", {"negative", "positive"})):
        found = features(drawn, stem)
        classes = [feature["properties"]["classification"] for feature in found]
        assert {one["name"] for one in classes} == names
        assert all(len(one["color"]) == 3 for one in classes)
        assert {feature["properties"]["objectType"] for feature in found} == {"annotation"}
        assert len({feature["id"] for feature in found}) == len(found)


def test_the_same_settings_draw_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for folder, seed in ((first, 0), (second, 0), (other, 1)):
        draw_slides(folder, count=1, size_px=512, mpp=0.5, stain="he", seed=seed)
    assert files(first) == files(second)
    assert files(first)["phantom_1.tiff"] != files(other)["phantom_1.tiff"]


def test_slides_of_one_seed_differ_and_old_ones_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "phantom_1.tiff").write_text("old")
    (tmp_path / "phantom_1.partial").mkdir()
    written = draw_slides(tmp_path, count=2, size_px=512, mpp=0.5, stain="he", seed=0)
    assert sorted(written) == sorted(tmp_path.iterdir())
    assert len(written) == 8
    first, second = (pixels(tmp_path / f"phantom_{i}.tiff") for i in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("stain", ["he", "ihc"])
def test_a_region_is_the_same_however_it_is_cut(stain: Any) -> None:
    scene = Scene(seed=5, size_px=SIZE_PX, mpp=0.25, stain=stain)
    whole = paint(scene, Region(300, 200, 260, 310))
    for y, x, height, width in ((0, 0, 101, 310), (101, 0, 159, 77), (101, 77, 159, 233)):
        piece = paint(scene, Region(300 + y, 200 + x, height, width))
        np.testing.assert_array_equal(piece, whole[y : y + height, x : x + width])


@pytest.mark.parametrize("kind", ["pen", "fold", "bubble", "blur"])
def test_an_artefact_is_the_same_however_it_is_cut(kind: str) -> None:
    scene = Scene(seed=5, size_px=SIZE_PX, mpp=0.5, stain="he")
    x, y = artefact_polygons(scene)[kind].exterior.coords[0]
    top, left = max(0, int(y) - 30), max(0, int(x) - 40)
    whole = paint(scene, Region(top, left, 60, 80))
    pieces = [paint(scene, Region(top + at, left, 20, 80)) for at in (0, 20, 40)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_artefacts_lie_apart_on_the_slide(drawn: Path) -> None:
    for stem in ("phantom_1", "phantom_ihc_1"):
        found = orjson.loads((drawn / f"{stem}.artefacts.geojson").read_bytes())["features"]
        kinds = [one["properties"]["classification"]["name"] for one in found]
        assert kinds == ["pen", "fold", "bubble", "blur"]
        assert found[0]["properties"]["name"] in INKS
        outlines = [shape(one["geometry"]) for one in found]
        assert all(outline.is_valid and outline.area > 0 for outline in outlines)
        assert box(0, 0, SIZE_PX, SIZE_PX).contains(union_all(outlines))
        assert not any(one.intersects(other) for one, other in combinations(outlines, 2))
        assert union_all(outlines).area < 0.06 * SIZE_PX**2


def test_tissue_fills_more_than_half_and_holds_all_nuclei(drawn: Path) -> None:
    scene = Scene(seed=5, size_px=SIZE_PX, mpp=0.25, stain="he")
    tissue = scene.tissue(Region(0, 0, SIZE_PX, SIZE_PX)) > 0
    assert 0.5 < tissue.mean() < 0.68
    border = np.concatenate([tissue[0], tissue[-1], tissue[:, 0], tissue[:, -1]])
    assert not border.any()
    for block in np.ndindex(scene.blocks, scene.blocks):
        some = nuclei(scene, *block)
        assert tissue[(some["y"] / 0.25).astype(int), (some["x"] / 0.25).astype(int)].all()
    colour = pixels(drawn / "phantom_1.tiff").min(axis=0)
    assert 0.35 < (colour < 215).mean() < 0.75


def test_nuclei_are_rich_in_haematoxylin(drawn: Path) -> None:
    density = stain_density(pixels(drawn / "phantom_1.tiff"), "he")
    inside = level(drawn, "phantom_1") > 0
    tissue = density.sum(axis=0) > 0.1
    assert density[0][inside].mean() > 1.5 * density[0][tissue & ~inside].mean()


def test_positive_nuclei_are_rich_in_dab(drawn: Path) -> None:
    density = stain_density(pixels(drawn / "phantom_ihc_1.tiff"), "ihc")
    labels = level(drawn, "phantom_ihc_1").ravel()
    means = np.bincount(labels, density[1].ravel())[1:] / np.bincount(labels)[1:]
    kinds = np.array(
        [f["properties"]["classification"]["name"] for f in features(drawn, "phantom_ihc_1")]
    )
    positive, negative = means[kinds == "positive"], means[kinds == "negative"]
    assert len(positive) > 10
    assert len(negative) > 10
    assert np.percentile(positive, 10) > np.percentile(negative, 90)


def test_physical_sizes_do_not_depend_on_mpp(tmp_path: Path) -> None:
    means = []
    for mpp, size_px in ((0.5, 512), (0.25, 1024)):
        draw_slides(tmp_path, count=1, size_px=size_px, mpp=mpp, stain="he", seed=2)
        areas = [cell.area * mpp**2 for cell in polygons(tmp_path, "phantom_1")]
        means.append(np.mean(areas))
    assert 15 < means[0] < 60
    assert abs(means[0] / means[1] - 1) < 0.15


def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    peaks = []
    for size_px in (1024, 2048):
        scene = Scene(seed=1, size_px=size_px, mpp=0.25, stain="he")
        tracemalloc.start()
        write_tiff(scene, tmp_path / "slide.tiff")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    "wrong", [{"size_px": 511}, {"count": 0}, {"mpp": 0.01}, {"mpp": 4.0}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"count": 1, "size_px": 512, "mpp": 0.5, "stain": "he", "seed": 0}
    with pytest.raises(SettingsError, match="--"):
        draw_slides(tmp_path, **(settings | wrong))
    assert not list(tmp_path.iterdir())
