"""Slides of scanners that no library writes: Leica, Hamamatsu, MIRAX, DICOM; small ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from tests.io.formats import Picture, jpeg, shrunk, tiles_of

SCN_IMAGE = """<image name="i" uuid="urn:uuid:{ifd}">
<creationDate>2020-01-01T00:00:00Z</creationDate>
<device model="Leica SCN400" version="1"/><pixels sizeX="{width}" sizeY="{height}">
<dimension sizeX="{width}" sizeY="{height}" r="0" ifd="{ifd}"/></pixels><view {view} spacingZ="0"/>
<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings>
<illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""

NDPI_TILE_PX = 128
ASCII, SHORT, LONG, RATIONAL, SLONG, FLOAT = 2, 3, 4, 5, 9, 11
PACKED = {SHORT: "H", LONG: "I", RATIONAL: "I", SLONG: "i", FLOAT: "f"}

MIRAX_ID = "0123456789ABCDEF0123456789ABCDEF"
MIRAX = (
    """[GENERAL]
SLIDE_VERSION=01.02
SLIDE_ID="""
    + MIRAX_ID
    + """
SLIDE_TYPE=SLIDE_TYPE_{kind}
IMAGENUMBER_X=4
IMAGENUMBER_Y=4
OBJECTIVE_MAGNIFICATION=20
[HIERARCHICAL]
HIER_COUNT=1
NONHIER_COUNT=0
INDEXFILE=Index.dat
HIER_0_NAME=Slide zoom level
HIER_0_COUNT=2
HIER_0_VAL_0_SECTION=LEVEL_0
HIER_0_VAL_1_SECTION=LEVEL_1
[DATAFILE]
FILE_COUNT=1
FILE_0=Data0000.dat
"""
)
MIRAX_LEVEL = """[LEVEL_{n}]
OVERLAP_X=0
OVERLAP_Y=0
MICROMETER_PER_PIXEL_X={mpp}
MICROMETER_PER_PIXEL_Y={mpp}
IMAGE_FORMAT=JPEG
IMAGE_FILL_COLOR_BGR=16777215
DIGITIZER_WIDTH={side}
DIGITIZER_HEIGHT={side}
IMAGE_CONCAT_FACTOR={concat}
"""


def leica(path: Path, image: Picture) -> Path:
    """Write a Leica SCN of 1000 x 800 pixels of 0.5 µm, of which `image` is at (400, 200)."""
    height, width = image.shape[:2]
    macro = 'sizeX="500000" sizeY="400000" offsetX="0" offsetY="0"'
    scan = f'sizeX="{width * 500}" sizeY="{height * 500}" offsetX="200000" offsetY="100000"'
    images = SCN_IMAGE.format(ifd=0, width=100, height=80, view=macro, power=1)
    images += SCN_IMAGE.format(ifd=1, width=width, height=height, view=scan, power=20)
    text = f"""<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"
    uuid="urn:uuid:8"><collection name="c" uuid="urn:uuid:9" sizeX="500000" sizeY="400000">
    {images}</collection></scn>"""
    options: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        small = np.full((80, 100, 3), 200, np.uint8)
        options |= {"resolutionunit": 3}
        file.write(small, description=text, resolution=(1000, 1000), **options)
        file.write(image, resolution=(20000, 20000), **options)
    return path


def ndpi(path: Path, image: Picture) -> Path:
    """Write an NDPI: one JPEG with restart markers in tags of its own, 64-bit next offsets."""
    height, width = image.shape[:2]
    stream = io.BytesIO()
    Image.fromarray(image).save(
        stream, "jpeg", quality=90, subsampling=0, restart_marker_blocks=NDPI_TILE_PX // 8
    )
    data = stream.getvalue()
    values: dict[int, tuple[int, Any]] = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, (8, 8, 8)),
        259: (SHORT, 7),
        262: (SHORT, 6),
        271: (ASCII, b"Hamamatsu\0"),
        273: (LONG, 12),
        277: (SHORT, 3),
        278: (LONG, height),
        279: (LONG, len(data)),
        282: (RATIONAL, (22727, 1)),
        283: (RATIONAL, (22727, 1)),
        284: (SHORT, 1),
        296: (SHORT, 3),
        65420: (LONG, 1),
        65421: (FLOAT, 40.0),
        65424: (SLONG, 0),
    }
    at = 12 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<Q", at)
    path.write_bytes(head + data.ljust(at - 12, b"\0") + _directory(values, at))
    return path


def _directory(values: dict[int, tuple[int, Any]], at: int) -> bytes:
    """Bytes of a TIFF directory that lies at some place of the file, and of its long values."""
    entries, long = b"", b""
    beyond = at + 2 + 12 * len(values) + 8
    for tag, (kind, value) in sorted(values.items()):
        if kind == ASCII:
            packed, count = value, len(value)
        else:
            each = np.ravel(value).tolist()
            packed = struct.pack(f"<{len(each)}{PACKED[kind]}", *each)
            count = len(each) // (2 if kind == RATIONAL else 1)
        if len(packed) > 4:
            packed, long = (
                struct.pack("<I", beyond + len(long)),
                long + packed + b"\0" * (-len(packed) % 2),
            )
        entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    return struct.pack("<H", len(values)) + entries + bytes(8) + long


def mirax(path: Path, image: Picture, *, kind: str = "BRIGHTFIELD") -> Path:
    """Write a MIRAX slide: an empty file, and a folder with an index and the tiles of two levels.

    The image is 4 x 4 tiles of level 0; the upper half of it was not scanned.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(b"")
    side = image.shape[0] // 4
    half = shrunk(image, side * 2, side * 2)
    zooms: list[tuple[int, Picture]] = [(1, image), (2, half)]
    data, pages = b"", []
    for concat, level in zooms:
        records = b""
        for number, tile in enumerate(tiles_of(level, side)):
            row, col = np.array(divmod(number, 4 // concat)) * concat
            if row < 2:
                continue
            stream = jpeg(tile)
            records += struct.pack("<4i", row * 4 + col, len(data), len(stream), 0)
            data += stream
        pages.append(records)
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_mirax_index(pages))
    level_text = "".join(
        MIRAX_LEVEL.format(n=n, concat=min(n, 1), mpp=0.25 * 2**n, side=side) for n in range(2)
    )
    (folder / "Slidedat.ini").write_text(MIRAX.format(kind=kind) + level_text)
    return path


def _mirax_index(pages: Sequence[bytes]) -> bytes:
    """Bytes of Index.dat: version and name, where the levels are, and a page of tiles of each."""
    head = b"01.02" + MIRAX_ID.encode()
    start = len(head) + 8
    pointers, content = b"", b""
    at = start + 4 * len(pages)
    for records in pages:
        pointers += struct.pack("<i", at + len(content))
        page = at + len(content) + 8
        content += struct.pack("<4i", 0, page, len(records) // 16, 0) + records
    return head + struct.pack("<2i", start, 0) + pointers + content


def dicom(folder: Path, levels: Sequence[Picture], *, series: str = "1.2.3") -> Path:
    """Write a DICOM slide: a file for each level, in tiles of JPEG, 0.25 µm per pixel."""
    folder.mkdir(exist_ok=True)
    for number, level in enumerate(levels):
        frames = [jpeg(tile) for tile in tiles_of(level, 128)]
        one = Dataset()
        one.SOPClassUID = VLWholeSlideMicroscopyImageStorage
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2", series
        one.SOPInstanceUID = f"{series}.{number + 1}"
        one.Modality = "SM"
        how = ["DERIVED", "RESAMPLED"] if number else ["ORIGINAL", "NONE"]
        one.ImageType = [how[0], "PRIMARY", "VOLUME", how[1]]
        one.SamplesPerPixel, one.PlanarConfiguration = 3, 0
        one.PhotometricInterpretation = "YBR_FULL_422"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
        one.TotalPixelMatrixRows, one.TotalPixelMatrixColumns = level.shape[:2]
        one.Rows = one.Columns = 128
        one.NumberOfFrames, one.NumberOfOpticalPaths = len(frames), 1
        one.TotalPixelMatrixFocalPlanes = 1
        one.DimensionOrganizationType = "TILED_FULL"
        measures, shared, path = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = [0.00025 * levels[0].shape[0] / level.shape[0]] * 2
        shared.PixelMeasuresSequence = [measures]
        path.ObjectiveLensPower, path.OpticalPathIdentifier = 40, "0"
        one.SharedFunctionalGroupsSequence, one.OpticalPathSequence = [shared], [path]
        one.PixelData = encapsulate(frames)
        one["PixelData"].VR = "OB"
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        one.save_as(folder / f"{series}.{number}.dcm", enforce_file_format=True)
    return folder
