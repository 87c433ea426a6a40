"""Stage 3: prior self-activation maps."""
