#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the folder of the project.
set -euo pipefail
if [ ! -f envs/requirements.lock ]; then
  echo "--sdm conda needs a copy of the repository; with an installed wsipsm run without it" >&2
  exit 2
fi
uv pip install --system --no-deps -r envs/requirements.lock
uv pip install --system --no-deps -e .
