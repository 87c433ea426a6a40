"""Optical density and stain density of a tile (Beer-Lambert, Ruifrok and Johnston 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import hed_from_rgb, rgb_from_hed

from wsipsm.config import Stain

_SECOND = {"he": 1, "ihc": 2}

_LABEL_WEIGHTS = {"he": hed_from_rgb[:, 0] / hed_from_rgb[0, 0], "ihc": np.array([1.0, 0, 0])}


def optical_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density -log10(I / 255) of an RGB image (3, y, x): float32, 0 (white) to 2.41."""
    table = -np.log10(np.maximum(np.arange(256), 1) / 255)
    density: NDArray[np.float32] = table.astype(np.float32)[image]
    return density


def stain_density(image: NDArray[np.uint8], stain: Stain) -> NDArray[np.float32]:
    """Density of haematoxylin and of the counterstain, float32 (2, y, x), clipped at 0.

    Parameters
    ----------
    image
        uint8 RGB (3, y, x).
    stain
        "he" (haematoxylin, eosin) or "ihc" (haematoxylin, DAB).

    Notes
    -----
    Densities solve OD = sum of density x stain vector, with the vectors of Ruifrok and
    Johnston (scikit-image's `rgb_from_hed`) and their cross product as the residual.
    """
    first, second = rgb_from_hed[0], rgb_from_hed[_SECOND[stain]]
    vectors = np.stack([first, second, np.cross(first, second)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unmix = np.linalg.inv(vectors)[:, :2].T.astype(np.float32)
    density: NDArray[np.float32] = np.einsum("sc,cyx->syx", unmix, optical_density(image))
    return np.maximum(density, 0, out=density)


def nuclear_density(image: NDArray[np.uint8], stain: Stain) -> NDArray[np.float32]:
    """What makes a nucleus dark, float32 (y, x): haematoxylin, and DAB too in IHC."""
    return nuclear_part(stain_density(image, stain), stain)


def nuclear_part(density: NDArray[np.float32], stain: Stain) -> NDArray[np.float32]:
    """`nuclear_density` from what `stain_density` gives, float32 (2, y, x)."""
    return np.asarray(density[0] if stain == "he" else density.sum(axis=0))


def label_density(image: NDArray[np.uint8], stain: Stain) -> NDArray[np.float32]:
    """What parts nuclei from the rest best, float32 (y, x): red density less that of others.

    Notes
    -----
    H&E: OD red - 0.04 green - 0.32 blue, the haematoxylin of Ruifrok and Johnston's three stains
    (scikit-image's `hed_from_rgb`) brought to a weight of 1 for red, clipped at 0. IHC: red
    alone, which haematoxylin and DAB both absorb, the one seen blue and the other brown.
    """
    weights = _LABEL_WEIGHTS[stain].astype(np.float32)
    density: NDArray[np.float32] = np.tensordot(weights, optical_density(image), 1)
    return np.maximum(density, 0, out=density)
