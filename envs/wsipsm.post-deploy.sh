#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the folder of the project.
set -euo pipefail
uv pip install --system --no-deps -r envs/requirements.lock
uv pip install --system --no-deps -e .
