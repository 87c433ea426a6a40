"""What the OME-XML text of an OME-TIFF says of an image: its resolution and its objective."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from wsipsm.io.source import UNIT_UM, Resolution


def ome_facts(text: str | None, index: int) -> tuple[Resolution | None, float | None]:
    """Resolution and objective power of image number `index` of an OME-XML text."""
    if not text:
        return None, None
    root = ET.fromstring(text)
    images = root.findall("{*}Image")
    if index >= len(images):
        return None, None
    pixels = images[index].find("{*}Pixels")
    x, y = (_physical_size(pixels, axis) for axis in "XY") if pixels is not None else (None, None)
    resolution = Resolution(x, y or x, "OME-XML") if x else None
    return resolution, _objective(root, images[index])


def _physical_size(pixels: ET.Element, axis: str) -> float | None:
    unit = UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", ""))
    except ValueError:
        return None
    return size * unit if unit and size > 0 else None


def _objective(root: ET.Element, image: ET.Element) -> float | None:
    settings = image.find("{*}ObjectiveSettings")
    wanted = settings.get("ID") if settings is not None else None
    for objective in root.iter():
        if objective.tag.endswith("}Objective") and wanted in (None, objective.get("ID")):
            power = objective.get("NominalMagnification")
            return float(power) if power else None
    return None
