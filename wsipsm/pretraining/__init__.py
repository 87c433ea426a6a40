"""Stage 2: the self-supervised activation network."""
