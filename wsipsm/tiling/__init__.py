"""Stage 1: slide to tiles."""
