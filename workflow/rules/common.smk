"""The configuration, the slide sheet, and what the rules share."""

import hashlib
import os
import shlex
import sys
import time
from pathlib import Path

from wsipsm.checks import check_base, check_init, check_maps
from wsipsm.config import Config, SettingsError
from wsipsm.config import parse as parse_settings  # Snakemake has a `parse` of its own
from wsipsm.sheet import read_slide_sheet


def checked(values):
    """Configuration and slides by name; a mistake is one sentence and exit code 2."""
    try:
        settings = parse_settings(Config, values, where="config/config.yaml")
        rows = read_slide_sheet(Path(settings.slides))
        check_base(settings)
        check_init(settings)
        check_maps(settings)
    except SettingsError as error:
        print(f"wsipsm: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    return settings, {row.slide: row for row in rows}


LONGEST = 30_000
SETTINGS, SLIDES = checked(config)
TRUTH = [row.scored_on for row in SLIDES.values()]
LESSONS = [row.lesson for row in SLIDES.values() if row.split == "train"]


pathvars:
    results=SETTINGS.results,


wildcard_constraints:
    slide="[^/]+",
    model="|".join(sorted({*SETTINGS.models, "unet"})),


def options(**values):
    """Command-line options, quoted for the shell; a tuple repeats its option."""
    words = []
    for name, value in values.items():
        several = value if isinstance(value, (tuple, list)) else [value]
        words += [f"--{name.replace('_', '-')}={each}" for each in several or [""]]
    return arguments(words)


def arguments(words):
    """Words for the shell, or where they are many the name of a file that holds them.

    A shell takes no command of more than 128 KiB, which is the paths of two thousand slides.
    """
    line = shlex.join(words)
    if len(line) <= LONGEST:
        return line
    folder = Path(SETTINGS.results, "lists")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(line.encode()).hexdigest()[:16]}.txt"
    if not path.exists():
        ahead = path.with_name(f"{path.name}.{os.getpid()}")
        ahead.write_text(line)
        ahead.replace(path)
    return f"@{shlex.quote(str(path))}"


def flags(section, *, prefix=""):
    """Every setting of one section of the configuration as command-line options."""
    values = dict(getattr(SETTINGS, section))
    return options(**{prefix + name: value for name, value in values.items()})


def facts(wildcards):
    """What the slide sheet says of one slide, as command-line options."""
    row = SLIDES[wildcards.slide]
    mpp = {} if row.mpp is None else {"slide_mpp": row.mpp}
    return options(name=row.slide, stain=row.stain, **mpp)


def per_slide(product, *, split=None):
    """Paths of a product of every slide, or of every slide of one split."""
    names = [row.slide for row in SLIDES.values() if split in (None, row.split)]
    return [f"<results>/slides/{slide}/{product}" for slide in names]


def per_model(product):
    """Paths of a product of every slide and model."""
    return [path for model in SETTINGS.models for path in per_slide(f"{model}/{product}")]


def exports():
    """Files and folders of cells that the configuration asks for, and QuPath projects."""
    names = SETTINGS.export.formats
    files = [path for name in names for path in per_model(f"cells.{SUFFIXES[name]}")]
    projects = SETTINGS.models if "qupath" in names else []
    return files + expand("<results>/qupath/{model}", model=projects)


def evaluations():
    """Scores of each model, if the slide sheet names truth for any slide."""
    return expand("<results>/evaluation/{model}.json", model=SETTINGS.models if any(TRUTH) else [])


def any_quarantined():
    """Whether the last report names a slide that was set aside."""
    table = Path(SETTINGS.results, "quarantine.tsv")
    return table.exists() and len(table.read_text().splitlines()) > 1
