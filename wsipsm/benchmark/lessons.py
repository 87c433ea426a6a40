"""Fields with outlines as lessons: their truth as a person would draw it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import shapely

from wsipsm.benchmark.fields import Field
from wsipsm.benchmark.score import true_labels
from wsipsm.inference.outlines import outlines
from wsipsm.io.tiles import open_tiles


def annotate(field: Field, tiles: Path, target: Path) -> str:
    """Write the truth of a field as annotations, GeoJSON: a region that is all of it, and nuclei.

    Returns the name of the file, as `training.train.train` takes it.
    """
    slide = open_tiles(tiles)
    labels = true_labels(field, slide)
    _, numbers = np.unique(np.append(0, labels), return_inverse=True)
    instances = numbers[1:].reshape(labels.shape).astype(np.int32)
    height, width = (side * slide.scale for side in labels.shape)
    shapes = [
        ("Region*", shapely.box(0, 0, width, height)),
        *(("nucleus", cell) for cell in outlines(instances, origin=(0, 0), scale=slide.scale)),
    ]
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {"classification": {"name": name}},
        }
        for name, shape in shapes
    ]
    target.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(target)
