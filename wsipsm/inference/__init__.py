"""Stage 6: model to the cells of every tile."""
