"""Stage 4: activation maps and stain to pseudo masks."""
