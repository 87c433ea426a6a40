"""The methods that are compared: plain controls, the paper's recipe, and each change of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wsipsm.benchmark.points import CLASSES
from wsipsm.benchmark.recipe import PAPER_PRETRAINING, Recipe
from wsipsm.benchmark.run import Bench, Products
from wsipsm.config import Activation, Pretraining, Pseudomasks, Stain


@dataclass(frozen=True)
class Budget:
    """How long is trained; None: as long as the default, or the paper, has it.

    Attributes
    ----------
    steps
        Of our activation networks.
    paper_steps
        Of the paper's activation network, one tile each.
    unet_steps, unet_rate
        Of each of the paper's two U-Nets, four tiles each; their learning rate.
    tile_px
        Side of the tiles that the paper's three networks learn from.
    """

    steps: int | None = None
    paper_steps: int | None = None
    unet_steps: int | None = None
    unet_rate: float | None = None
    tile_px: int | None = None


@dataclass(frozen=True)
class Cohort:
    """All tiles, to learn from, and those of the fields that are scored."""

    bench: Bench
    tiles: Products
    scored: Products
    stain: Stain
    budget: Budget

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of nuclei: two where DAB tells them apart."""
        return CLASSES if self.stain == "ihc" else ("nucleus",)

    def encoder(self, seed: int, **settings: Any) -> Path:
        """Our small activation network."""
        known = {**_given(steps=self.budget.steps), **settings}
        return self.bench.encoder(self.tiles, Pretraining(**known), seed=seed)

    def paper_encoder(self, seed: int) -> Path:
        """The paper's activation network."""
        given = _given(steps=self.budget.paper_steps, tile_px=self.budget.tile_px)
        settings = PAPER_PRETRAINING.model_copy(update=given)
        return self.bench.encoder(self.tiles, settings, seed=seed)

    def recipe(self, **settings: Any) -> Recipe:
        """The paper's recipe for these classes."""
        return Recipe(classes=len(self.classes), **settings)


@dataclass(frozen=True)
class Made:
    """What a method makes of the scored fields.

    Attributes
    ----------
    labels
        Products with label images; None: those of `plain`, or of the map alone by threshold.
    maps
        Products with a map of the field; None if the method has none.
    plain
        Name of a plain method; its label images are made when they are scored.
    """

    labels: Products | None = None
    maps: Products | None = None
    plain: str | None = None


@dataclass(frozen=True)
class Method:
    """A row of the table: what it is called, and how it is done with a seed."""

    title: str
    make: Callable[[Cohort, int], Made]
    seeded: bool = True


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _plain(name: str, _: Cohort, __: int) -> Made:
    return Made(plain=name)


def _map_alone(pretraining: dict[str, Any], cohort: Cohort, seed: int) -> Made:
    encoder = cohort.encoder(seed, **pretraining)
    return Made(maps=cohort.bench.activations(cohort.scored, encoder, Activation()))


def _jet(source: Path | Products, recipe: Recipe, cohort: Cohort, seed: int) -> Products:
    """Masks by the paper's clustering of the maps of an encoder, or of those given."""
    inputs = {
        name: (path, source if isinstance(source, Path) else source[name])
        for name, path in cohort.scored.items()
    }
    options = {"settings": recipe, "seed": seed}
    return cohort.bench.each("paper_masks", inputs, "paper_masks.zarr", options)


def _paper_masks(cohort: Cohort, seed: int) -> Made:
    masks = _jet(cohort.paper_encoder(seed), cohort.recipe(), cohort, seed)
    return Made(labels=masks, maps=masks)


def _paper(stages: int, cohort: Cohort, seed: int) -> Made:
    """The whole preset: masks, a first U-Net, its points, a second U-Net, components."""
    bench, tiles = cohort.bench, cohort.tiles
    encoder, recipe = cohort.paper_encoder(seed), cohort.recipe()
    others = {name: (path, encoder) for name, path in tiles.items() if name not in cohort.scored}
    known = {"settings": recipe, "seed": seed, "centre_only": True}
    masks = bench.each("paper_masks", others, "paper_masks.zarr", known)
    masks |= _jet(encoder, recipe, cohort, seed)
    budget = cohort.budget
    given = _given(steps=budget.unet_steps, tile_px=budget.tile_px, learning_rate=budget.unet_rate)
    options = {"settings": cohort.recipe(**given), "seed": seed}
    slides = [(path, masks[name]) for name, path in tiles.items()]
    network = bench.once("paper_network", (slides,), "paper_first.pt", options)
    if stages == 2:
        seen = {name: (path, masks[name], network) for name, path in tiles.items()}
        points = bench.each("paper_points", seen, "paper_points.zarr", {})
        slides = [(path, points[name]) for name, path in tiles.items()]
        network = bench.once("paper_network", (slides,), "paper_second.pt", options)
    inputs = {name: (path, network) for name, path in cohort.scored.items()}
    return Made(labels=bench.each("paper_segment", inputs, "paper_cells.zarr", {}))


def _small_jet(proxy: str, oriented: bool, cohort: Cohort, seed: int) -> Made:
    encoder = cohort.encoder(seed, proxy=proxy)
    masks = _jet(encoder, cohort.recipe(oriented=oriented), cohort, seed)
    return Made(labels=masks, maps=masks)


def _slide_jet(cohort: Cohort, seed: int) -> Made:
    maps = cohort.bench.activations(cohort.scored, cohort.encoder(seed), Activation())
    return Made(labels=_jet(maps, cohort.recipe(), cohort, seed), maps=maps)


def _stage_4(method: Any, settings: dict[str, Any], cohort: Cohort, seed: int) -> Made:
    maps = cohort.bench.activations(cohort.scored, cohort.encoder(seed), Activation())
    chosen = Pseudomasks(method=method, classes=cohort.classes, **settings)
    return Made(labels=cohort.bench.pseudomasks(cohort.scored, maps, chosen, seed=seed), maps=maps)


METHODS = {
    "stain_otsu": Method("stain, Otsu, watershed", partial(_plain, "stain_otsu"), seeded=False),
    "stain_kmeans": Method("stain k-means, watershed", partial(_plain, "stain_kmeans")),
    "rgb_kmeans": Method("RGB k-means, watershed", partial(_plain, "rgb_kmeans")),
    "untrained": Method("untrained PSM alone", partial(_map_alone, {"steps": 0})),
    "paper_masks": Method("paper: pseudo masks", _paper_masks),
    "paper_first": Method("paper: first U-Net", partial(_paper, 1)),
    "paper": Method("paper: both U-Nets", partial(_paper, 2)),
    "raw": Method("ResNet-18, similarity, JET", partial(_small_jet, "similarity", False)),
    "oriented": Method("+ oriented by stain", partial(_small_jet, "similarity", True)),
    "directed": Method("+ directed proxy", partial(_small_jet, "stain", True)),
    "slide_weights": Method("+ weights of the slide", _slide_jet),
    "psm_alone": Method("that map alone", partial(_map_alone, {})),
    "cluster": Method("stage 4: clusters of stain and PSM", partial(_stage_4, "cluster", {})),
    "stain_cluster": Method(
        "stage 4: clusters of stain alone", partial(_stage_4, "cluster", {"psm_weight": 0})
    ),
    "psm": Method("stage 4: labelled by PSM", partial(_stage_4, "psm", {})),
    "stain": Method("stage 4: labelled by stain", partial(_stage_4, "stain", {})),
    "auto": Method("stage 4: auto (the default)", partial(_stage_4, "auto", {})),
}
"""Methods by name, in the order of the table."""
