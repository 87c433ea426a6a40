"""Stage 10: one page for the cohort."""
