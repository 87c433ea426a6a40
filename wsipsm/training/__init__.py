"""Stage 5: the downstream network, trained on pseudo masks."""
