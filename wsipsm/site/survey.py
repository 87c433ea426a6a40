"""A first look at the slides of a new project: which open, and the resolution to work at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from wsipsm.errors import DataError

RESOLUTIONS = (0.25, 0.5, 1.0)
"""Working resolutions to choose from, microns per pixel: scans of 40x, 20x and 10x."""


def survey(slides: Iterable[Path]) -> tuple[float | None, list[str]]:
    """Open each slide.

    Parameters
    ----------
    slides
        Their files.

    Returns
    -------
    float or None
        The resolution, of `RESOLUTIONS`, that is nearest by its ratio to that of the finest slide;
        None where no slide tells its own.
    list[str]
        Of each slide that cannot be used as it is, why, and what to do.
    """
    from wsipsm.io.slide import open_slide

    found, doubts = [], []
    for path in slides:
        try:
            with open_slide(path) as slide:
                found.append(slide.mpp)
        except DataError as error:
            doubts.append(str(error))
    if not found:
        return None, doubts
    finest = min(found)
    return min(RESOLUTIONS, key=lambda mpp: abs(math.log(mpp / finest))), doubts
