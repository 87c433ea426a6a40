"""Fields are read from folders as data sets are published."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from wsipsm.benchmark.fields import read_fields
from wsipsm.errors import DataError, SettingsError

IMAGE = np.full((40, 60, 3), 200, np.uint8)

XML = """<?xml version="1.0" encoding="utf-8"?>
<Annotations MicronsPerPixel="0.252000"><Annotation Id="1"><Regions>
<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/></RegionAttributeHeaders>
{}
</Regions></Annotation></Annotations>"""
REGION = '<Region Id="{}"><Attributes/><Vertices>{}</Vertices></Region>'


def region(number: int, *points: tuple[float, float]) -> str:
    return REGION.format(number, "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points))


def ours(folder: Path, names: list[str], labelled: dict[str, np.ndarray]) -> Path:
    for inside in ("images", "labels"):
        (folder / inside).mkdir(parents=True)
    for name in names:
        imsave(folder / "images" / f"{name}.png", IMAGE, check_contrast=False)
    for name, labels in labelled.items():
        if labels.dtype == np.uint32:
            tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
        else:
            imsave(folder / "labels" / f"{name}.png", labels, check_contrast=False)
    return folder


def test_our_layout_may_be_labelled_in_part_and_joined(tmp_path: Path) -> None:
    small, large = np.eye(40, 60, dtype=np.uint16) * 300, np.eye(40, 60, dtype=np.uint32) * 70_000
    first = ours(tmp_path / "first", ["a", "b", "c"], {"a": small, "c": large})
    second = ours(tmp_path / "second", ["d"], {})
    found = read_fields([first, second], mpp=0.5, stain="ihc")
    assert [(one.name, one.group, one.truth is None) for one in found] == [
        ("a", "first", False), ("b", "first", True), ("c", "first", False), ("d", "second", True)
    ]  # fmt: skip
    assert {(one.mpp, one.stain) for one in found} == {(0.5, "ihc")}
    assert (found[0].true_labels() == small).all()
    assert (found[2].true_labels() == large).all()


@pytest.mark.parametrize("together", [True, False])
def test_monuseg_is_read_as_published(tmp_path: Path, together: bool) -> None:
    images = tmp_path if together else tmp_path / "Tissue Images"
    outlines = tmp_path if together else tmp_path / "Annotations"
    for folder in (images, outlines):
        folder.mkdir(exist_ok=True)
    tifffile.imwrite(images / "TCGA-1.tif", IMAGE)
    regions = [
        region(1, (10, 5), (20, 5), (20, 15), (10, 15)),
        region(2, (15, 5), (30, 5), (30, 15), (15, 15)),
        region(3, (50, 30)),
    ]
    (outlines / "TCGA-1.xml").write_text(XML.format("".join(regions)))
    (field,) = read_fields([tmp_path])
    wanted = np.zeros((40, 60), int)
    wanted[5:15, 10:20] = 1
    wanted[5:15, 15:30] = 2  # the later outline wins
    assert (field.name, field.mpp, field.stain) == ("TCGA-1", 0.25, "he")
    assert (field.true_labels() == wanted).all()


def test_bcdata_is_read_as_published(tmp_path: Path) -> None:
    points = {"positive": [[12, 3], [50, 30]], "negative": [[7, 9]]}
    for split in ("train", "test"):
        (tmp_path / "images" / split).mkdir(parents=True)
        imsave(tmp_path / "images" / split / "0.png", IMAGE, check_contrast=False)
        for name, places in points.items():
            folder = tmp_path / "annotations" / split / name
            folder.mkdir(parents=True)
            with h5py.File(folder / "0.h5", "w") as file:
                file["coordinates"] = np.array(places)
    found = read_fields([tmp_path], stain="ihc")
    assert [one.name for one in found] == ["test_0", "train_0"]
    assert found[0].truth is None
    read = found[0].true_points()
    assert list(read) == ["negative", "positive"]
    assert read["positive"].tolist() == [[3, 12], [30, 50]]  # y, x


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((40, 50), np.uint8), "50 x 40 pixels, but the image has 60 x 40"),
        (np.zeros((40, 60, 3), np.uint8), "is no label image"),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(tmp_path: Path, labels, message: str) -> None:
    (field,) = read_fields([ours(tmp_path, ["a"], {"a": labels})])
    with pytest.raises(DataError, match=message):
        field.true_labels()


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such folder"):
        read_fields([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="no image in it"):
        read_fields([tmp_path / "empty"])
    twice = ours(tmp_path / "twice", ["a"], {})
    with pytest.raises(SettingsError, match="a: 2 fields have this name"):
        read_fields([twice, twice])
    (tmp_path / "twice" / "Annotations").mkdir()
    (tmp_path / "twice" / "Annotations" / "a.xml").write_text("<Annotations><Region>")
    with pytest.raises(DataError, match="not an annotation of Aperio"):
        read_fields([twice])[0].true_labels()
