"""Stage 7: cells of tiles to cells of the slide."""
