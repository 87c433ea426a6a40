"""Stage 9: cells and plain controls against truth."""
