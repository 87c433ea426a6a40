"""The codebook of one slide: its labellers, the one to follow, sizes and classes of nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsipsm.config import Pseudomasks, Stain
from wsipsm.pseudomasks import choice, objects
from wsipsm.pseudomasks.choice import Choice
from wsipsm.pseudomasks.classes import Classes, fit_density, fit_morphology
from wsipsm.pseudomasks.features import CLASS_STAIN, DENSITY
from wsipsm.pseudomasks.labellers import Labeller, fit_cluster, fit_psm, fit_stain

BACKGROUND, IGNORE = 0, 255

ONE_LEVEL = (0.5,)
"""Border of nuclei where labellers are compared: rivals would hide how good each plane is."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Codebook:
    """What is set once for a slide.

    Attributes
    ----------
    labellers
        By name: `stain`, `psm`, `cluster`.
    choice
        The one that is followed, and why.
    median_area_um2
        Of the objects of the sample.
    classes
        What tells classes apart.
    """

    labellers: dict[str, Labeller]
    choice: Choice
    median_area_um2: float
    classes: Classes

    @property
    def labeller(self) -> Labeller:
        """The one that is followed."""
        return self.labellers[self.choice.method]

    @property
    def other(self) -> Labeller:
        """The independent one that it is compared with."""
        return self.labellers["stain" if self.choice.method == "psm" else "psm"]


def fit_codebook(
    sample: Features,
    squares: Sequence[Features],
    *,
    settings: Pseudomasks,
    stain: Stain,
    mpp: float,
    seed: int,
) -> Codebook:
    """Fit the codebook of a slide.

    Parameters
    ----------
    sample
        Features of pixels of its tissue, float32 (6, n).
    squares
        Features of some whole squares of it, float32 (6, y, x).
    """
    labellers = {
        "stain": fit_stain(sample, stain=stain),
        "psm": fit_psm(sample),
        "cluster": fit_cluster(sample, psm_weight=settings.psm_weight, seed=seed),
    }
    masks = [labellers[name].nearness(sample) > 0.5 for name in ("stain", "psm")]
    agreement = choice.kappa(*masks)
    if settings.method == "auto":
        tried = labellers | {"contrast": fit_cluster(sample, psm_weight=0, seed=seed)}
        names = [name for name in tried if name != "psm"]
        found = {name: _objects(tried[name], squares, settings, mpp, ONE_LEVEL) for name in names}
        scores = {name: choice.score(of, squares, mpp=mpp) for name, of in found.items()}
        chosen = choice.choose(scores, agreement=agreement)
    else:
        chosen = choice.asked_for(settings.method, agreement=agreement)
    taken = _objects(labellers[chosen.method], squares, settings, mpp, objects.LEVELS)
    areas = np.concatenate([objects.areas_of(one) for one in taken])
    median = float(np.median(areas)) * mpp**2 if len(areas) else 0.0
    measured = [measure(*pair, mpp=mpp) for pair in zip(taken, squares, strict=True)]
    classes = _classes(np.concatenate(measured), settings, stain=stain, seed=seed)
    return Codebook(labellers, chosen, median, classes)


def measure(labels: NDArray[np.int32], features: Features, *, mpp: float) -> NDArray[np.float64]:
    """What classes are told by, (objects, 4): class stain, log area, density, its deviation."""
    area = np.log(np.maximum(objects.areas_of(labels), 1) * mpp**2)
    stain = objects.means_of(labels, features[CLASS_STAIN])
    density = objects.means_of(labels, features[DENSITY])
    square = objects.means_of(labels, features[DENSITY] ** 2)
    deviation = np.sqrt(np.maximum(square - density**2, 0))
    return np.stack([stain, area, density, deviation], axis=1)


def _objects(
    labeller: Labeller,
    squares: Sequence[Features],
    settings: Pseudomasks,
    mpp: float,
    levels: Sequence[float],
) -> list[NDArray[np.int32]]:
    """Objects of one labeller in the squares of the sample."""
    return [
        objects.separate(labeller.nearness(one), one, settings=settings, mpp=mpp, levels=levels)
        for one in squares
    ]


def _classes(
    measured: NDArray[np.float64], settings: Pseudomasks, *, stain: Stain, seed: int
) -> Classes:
    count = len(settings.classes)
    if settings.class_by == "morphology" and len(measured):
        return fit_morphology(measured[:, 1:], classes=count, seed=seed)
    return fit_density(measured[:, 0], classes=count, stain=stain, seed=seed)


def classes_of(
    labels: NDArray[np.int32], features: Features, codebook: Codebook, *, mpp: float
) -> NDArray[np.uint8]:
    """Class 1 ... k of each object 1 ... n of a region."""
    measured = measure(labels, features, mpp=mpp)
    by_form = bool(codebook.classes.centres)
    return codebook.classes.of(measured[:, 1:] if by_form else measured)
