"""Cells as a SpatialData store: outlines, a table of measurements, and the tiles by a link."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from wsipsm.config import Export
from wsipsm.errors import SettingsError
from wsipsm.export.names import MODEL_SAYS, Colour, class_colours
from wsipsm.export.rows import Cells
from wsipsm.io import ngff
from wsipsm.io.parquet import CELL_SCHEMA
from wsipsm.io.product import Provenance, write_record
from wsipsm.io.tiles import Tiles
from wsipsm.types import MEASUREMENTS

CELLS, TABLE, TILES = "cells", "table", "tiles"
"""Names of the shapes, the table and the image."""

_NGFF, _RASTER = "0.5-dev-spatialdata", "0.3"  # how SpatialData 0.7 marks an image as its own


def require_spatialdata(target: Path) -> None:
    """Raise `SettingsError` where SpatialData is not installed."""
    try:
        import spatialdata  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError(
            f"{target}: SpatialData is not installed; install wsipsm[scverse],"
            " or take spatialdata out of export.formats"
        ) from None


def write_spatialdata(
    cells: Cells,
    tiles: Tiles,
    path: Path,
    provenance: Provenance,
    settings: Export,
    *,
    target: Path,
) -> None:
    """Write cells as shapes and as the table that annotates them; link the tiles as an image.

    Coordinate system `global` is level-0 pixels, `microns` is what it says. The image is a
    link to the pyramid of the tiles: keep both where they are to each other. SpatialData holds
    all cells in memory, and no empty shapes: a slide without cells is only its image.
    """
    import anndata
    from spatialdata import SpatialData

    rows = pa.concat_tables([CELL_SCHEMA.empty_table(), *cells.tables()])
    colours = class_colours(cells.record["classes"], settings.colours)
    elements = _elements(rows, colours, mpp=cells.record["slide"]["mpp"]) if len(rows) else {}
    if path.exists():  # of a try that was killed
        shutil.rmtree(path)
    with anndata.settings.override(auto_shard_zarr_v3=False):
        SpatialData(**elements).write(path, consolidate_metadata=False)
    _link_image(tiles, path / "images" / TILES, target / "images" / TILES)
    write_record(path, provenance)


def _elements(rows: pa.Table, colours: dict[str, Colour], *, mpp: float) -> dict[str, Any]:
    """Shapes and table, as `SpatialData` takes them."""
    import geopandas
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    transformations = {"global": Identity(), "microns": Scale([mpp, mpp], axes=("x", "y"))}
    outlines = geopandas.GeoDataFrame(
        geometry=shapely.from_wkb(rows["geometry"].to_numpy()), index=rows["id"].to_numpy()
    )
    shapes = ShapesModel.parse(outlines, transformations=transformations)
    table = TableModel.parse(
        _measured(rows, colours), region=CELLS, region_key="region", instance_key="cell_id"
    )
    return {"shapes": {CELLS: shapes}, "tables": {TABLE: table}}


def _measured(rows: pa.Table, colours: dict[str, Colour]) -> Any:
    """AnnData of the cells: measurements, and about each its class, score, agreement and place."""
    import anndata
    import pandas as pd

    values = np.stack([rows[name].to_numpy() for name in MEASUREMENTS], axis=1)
    about = pd.DataFrame(
        {
            "cell_id": rows["id"].to_numpy(),
            "region": pd.Categorical([CELLS] * len(rows)),
            "class": pd.Categorical(rows["class"].to_pylist(), categories=list(colours)),
            **{name: rows[name].to_numpy() for name in MODEL_SAYS},
        },
        index=rows["id"].to_numpy(),
    )
    table = anndata.AnnData(values, obs=about, var=pd.DataFrame(index=list(MEASUREMENTS)))
    table.obsm["spatial"] = np.stack(
        [rows["centroid_x"].to_numpy(), rows["centroid_y"].to_numpy()], axis=1
    )
    table.uns["class_colors"] = [f"#{bytes(rgb).hex()}" for rgb in colours.values()]
    return table


def _link_image(tiles: Tiles, group: Path, final: Path) -> None:
    """An image element whose levels are links to those of the tiles.

    `final` is where the group will lie: the links are relative, so that results can be moved.
    """
    from spatialdata.transformations import Scale

    microns = tiles.mpp / tiles.scale
    scales = {"global": tiles.scale, "microns": tiles.scale * microns}
    axes = ("c", "y", "x")
    about: dict[str, Any] = ngff.open_group(tiles.path).attrs.asdict()
    image = about["ome"]["multiscales"][0]
    image["coordinateTransformations"] = [
        Scale([scale, scale], axes=("x", "y"))
        .to_ngff(axes, output_axes=axes, output_coordinate_system_name=name)
        .to_dict()
        for name, scale in scales.items()
    ]
    channels = [{"label": name} for name in ("r", "g", "b")]
    attributes = {
        "ome": {"version": _NGFF, "multiscales": [image], "omero": {"channels": channels}},
        "spatialdata_attrs": {"version": _RASTER},
    }
    group.mkdir(parents=True)
    for folder, known in ((group.parent, {}), (group, attributes)):
        content = {"zarr_format": 3, "node_type": "group", "attributes": known}
        (folder / "zarr.json").write_text(json.dumps(content))
    start = final.absolute()
    for level in image["datasets"]:
        source = tiles.path.absolute() / level["path"]
        (group / level["path"]).symlink_to(os.path.relpath(source, start))
