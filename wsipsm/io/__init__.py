"""Files: slides, Zarr images, cell tables, checkpoints, and how a product comes to be."""
