"""Stage 8: cells as files for other programs."""
