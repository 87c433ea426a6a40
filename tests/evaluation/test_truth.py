"""Truth in every form that a slide sheet may name."""

import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
import tifffile
import zarr
from skimage.io import imsave

from wsipsm.errors import DataError
from wsipsm.evaluation.truth import open_truth
from wsipsm.io.tiles import open_tiles
from wsipsm.types import Region

from .conftest import HEIGHT, WIDTH, outlines_of

PART = Region(100, 37, 211, 300)


def write_geojson(path, labels, classes=None):
    ids, outlines = outlines_of(labels)
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(outline)),
            "properties": {"classification": {"name": classes[one % len(classes)]}}
            if classes
            else {},
        }
        for one, outline in zip(ids, outlines, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def write(path, labels):
    small = labels.astype(np.uint16)
    if path.suffix == ".png":
        imsave(path, small, check_contrast=False)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, small, tile=(64, 64), compression="zlib")
    elif path.suffix == ".zarr":
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        group.create_array("labels/nuclei/0", data=small, chunks=(64, 64))
    else:
        write_geojson(path, labels)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".zarr", ".geojson"])
def test_every_form_reads_the_same(example, tmp_path, suffix):
    slide = open_tiles(example.tiles)
    truth = open_truth(write(tmp_path / f"truth{suffix}", example.labels), slide)
    assert np.array_equal(truth.read(PART), example.labels[PART.slices])
    assert truth.classes == {}


@pytest.mark.parametrize("suffix", [".png", ".geojson"])
def test_truth_is_brought_to_the_working_mpp(example, tmp_path, suffix):
    coarse = replace(open_tiles(example.tiles), scale=2.0)
    truth = open_truth(write(tmp_path / f"truth{suffix}", example.labels), coarse)
    half = truth.read(Region(10, 20, 100, 150))
    # the centre of working pixel i is the border of level-0 pixels 2 i and 2 i + 1
    inner = [
        example.labels[20 + dy : 220 + dy : 2, 40 + dx : 340 + dx : 2]
        for dy in (0, 1)
        for dx in (0, 1)
    ]
    agreed = np.all([one == inner[0] for one in inner], axis=0)
    assert agreed.mean() > 0.85
    assert np.array_equal(half[agreed], inner[0][agreed])


def test_regions_far_from_the_origin_are_resampled_alike(example, tmp_path):
    odd = replace(open_tiles(example.tiles), scale=1.37)
    truth = open_truth(write(tmp_path / "truth.png", example.labels), odd)
    whole = truth.read(Region(0, 0, 300, 400))
    assert np.array_equal(truth.read(Region(111, 53, 70, 90)), whole[111:181, 53:143])


def test_classes_come_by_id(example, tmp_path):
    slide = open_tiles(example.tiles)
    path = write_geojson(tmp_path / "truth.geojson", example.labels, example.classes)
    truth = open_truth(path, slide)
    ids = np.unique(truth.read(PART))[1:]
    assert [truth.classes[one] for one in ids] == [example.classes[one % 2] for one in ids]


def test_outlines_are_counted_from_the_corner_of_the_bounds(example, tmp_path):
    slide = replace(open_tiles(example.tiles), bounds=(30, 40, 500, 400))
    truth = open_truth(write(tmp_path / "truth.geojson", example.labels), slide)
    moved = truth.read(Region(40, 30, 200, 200))
    assert np.array_equal(moved, example.labels[:200, :200])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".zarr"])
def test_another_size_is_refused_in_one_sentence(example, tmp_path, suffix):
    path = write(tmp_path / f"truth{suffix}", example.labels[:-10])
    with pytest.raises(DataError, match=f"{WIDTH} x {HEIGHT - 10} pixels, but slide drawn has"):
        open_truth(path, open_tiles(example.tiles))


def test_colours_are_no_labels(example, tmp_path):
    imsave(tmp_path / "rgb.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8), check_contrast=False)
    with pytest.raises(DataError, match="no label image"):
        open_truth(tmp_path / "rgb.png", open_tiles(example.tiles))


@pytest.mark.parametrize("name", ["bad.png", "bad.tif"])
def test_a_damaged_file_is_refused(example, tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot be read as a label image"):
        open_truth(tmp_path / name, open_tiles(example.tiles))


def test_a_zarr_without_labels_is_refused(example, tmp_path):
    zarr.open_group(str(tmp_path / "empty.zarr"), mode="w", zarr_format=3)
    with pytest.raises(DataError, match="cannot be read as a label image"):
        open_truth(tmp_path / "empty.zarr", open_tiles(example.tiles))
