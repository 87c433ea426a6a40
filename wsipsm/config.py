"""Every setting, defined once: type, range, default and description; sam_lora's: `config_sam`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsipsm.config_sam import Prompting as Prompting
from wsipsm.config_sam import Sam as Sam
from wsipsm.errors import SettingsError as SettingsError
from wsipsm.sections import Section as Section
from wsipsm.sections import parse as parse

Stain = Literal["he", "ihc"]
Proxy = Literal[
    "stain",
    "similarity",
    "contrastive",
    "rotation",
    "simsiam",
    "mean_pixel",
    "simclr",
    "vicreg",
]
Layer = Literal["layer1", "layer2", "layer3", "layer4"]
Control = Literal["stain_otsu", "rgb_kmeans", "untrained_psm"]
Artefact = Literal["pen", "fold", "bubble", "blur"]
Codec = Literal["zstd", "jpeg"]
ExportFormat = Literal["qupath", "table", "points", "annotation_store", "spatialdata", "labels"]
Model = Literal["unet", "sam_lora"]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f:]+$")]


class Tiling(Section):
    """Stage 1: slide to tiles."""

    mpp: float = Field(0.25, ge=0.05, le=10, description="working resolution, microns per pixel")
    tile_px: int = Field(512, ge=64, le=4096, multiple_of=32, description="side of a tile")
    shard_tiles: int = Field(4, ge=1, le=32, description="tiles along the side of a shard")
    min_tissue_share: float = Field(
        0.02, ge=0, le=1, description="smallest share of tissue in a tile that is kept"
    )
    min_tissue_um2: float = Field(
        4000, ge=0, description="smallest piece of tissue, square microns"
    )
    exclude: tuple[Artefact, ...] = Field(
        ("pen", "blur"), description="artefacts that exclude a tile; all are flagged"
    )
    max_artefact_share: float = Field(
        0.5, ge=0, le=1, description="largest share of a tile under pen, fold or bubble"
    )
    min_focus: float = Field(
        0.3, ge=0, le=1, description="least focus of a tile's tissue; 0.3: edges softer than 1 µm"
    )
    max_unreadable_share: float = Field(
        0.02, ge=0, le=1, description="largest share of the tissue that may be damaged in the file"
    )
    codec: Codec = Field("zstd", description="zstd: exact; jpeg: a quarter of the size, but lossy")


class Pretraining(Section):
    """Stage 2: the activation network, trained on unlabelled tiles."""

    backbone: str = Field("resnet18", description="timm network; the paper: res2net101_26w_4s")
    proxy: Proxy = Field("stain", description="self-supervised task; the paper: similarity")
    steps: int = Field(60, ge=0, description="training steps")
    batch: int = Field(24, ge=1, description="tiles in a step")
    tile_px: int = Field(64, ge=64, multiple_of=32, description="side of a training tile")
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate of Adam")


class Activation(Section):
    """Stage 3: prior self-activation maps."""

    layers: tuple[Layer, ...] = Field(
        ("layer1",),
        min_length=1,
        description="stages of the backbone whose blocks are tapped; their maps are averaged",
    )
    weights: Literal["slide", "tile"] = Field(
        "slide", description="channel weights: one set for a slide, or each tile's (the paper)"
    )
    smoothing_um: float = Field(
        1, ge=0, description="Gaussian sigma of the map, microns; the paper: 0"
    )
    halo_um: float = Field(
        8,
        ge=0,
        description="least border read around a tile, microns; weights of a slide: also as far as"
        " the map looks",
    )
    sample_tiles: int = Field(
        8, ge=1, description="squares of 128 µm that set a slide's weights, orientation and range"
    )


class Pseudomasks(Section):
    """Stage 4: activation maps and stain to pseudo masks."""

    method: Literal["auto", "stain", "psm", "cluster"] = Field(
        "auto",
        description="what labels a slide; stain: density; psm: activation map; cluster: k-means of"
        " both; auto: stain, or cluster where the map adds something",
    )
    classes: tuple[ClassName, ...] = Field(
        ("nucleus",), min_length=1, max_length=8, description="names, by rising stain or area"
    )
    class_by: Literal["stain", "morphology"] = Field(
        "stain",
        description="stain: DAB, or haematoxylin in H&E, in each nucleus; morphology: clusters of"
        " area, density and texture",
    )
    psm_weight: float = Field(
        0.75, ge=0, description="weight of the activation map beside stain density, for cluster"
    )
    smoothing_um: float = Field(0.25, ge=0, description="Gaussian sigma of stain density, microns")
    near_um: float = Field(
        7.5, gt=0, description="Gaussian sigma of the near surroundings of a pixel, microns"
    )
    far_um: float = Field(
        40, gt=0, description="Gaussian sigma of the far surroundings of a pixel, microns"
    )
    sample_pixels: int = Field(200_000, ge=1000, description="pixels that fit a slide's codebook")
    min_density: float = Field(
        0.08, ge=0, description="foreground is darker than this optical density"
    )
    ignore_margin: float = Field(
        0.1, ge=0, le=1, description="share of the way between clusters that is left unlabelled"
    )
    min_confidence: float = Field(
        0.75, ge=0, le=1, description="objects of less confidence are left out of the training"
    )
    min_area_um2: float = Field(8, ge=0, description="smallest object, square microns")
    min_area_share: float = Field(
        0.3, ge=0, lt=1, description="smallest object, as a share of the slide's median area"
    )
    opening_um: float = Field(1.0, ge=0, description="radius of the opening of an object, microns")
    seed_distance_um: float = Field(1.5, gt=0, description="least distance of two nuclei, microns")


class Training(Section):
    """Stage 5: the downstream network, trained on pseudo masks and then on its own labels."""

    backbone: str = Field("small", description="small, or a timm network; the paper: resnet34")
    init: Literal["random", "encoder"] = Field(
        "random",
        description="where weights begin; encoder: at those of stage 2, if both backbones are the"
        " same ResNet",
    )
    head: Literal["distance", "hv"] = Field(
        "distance",
        description="what tells touching cells apart: distance to their outlines, or hv: horizontal"
        " and vertical offsets from their centres (HoVer-Net)",
    )
    members: int = Field(
        1,
        ge=1,
        le=8,
        description="networks of different seeds, each of so many steps, whose maps are averaged",
    )
    rounds: int = Field(
        4, ge=1, le=6, description="rounds of training; each but the first on labels of the last"
    )
    steps: int = Field(4000, ge=1, description="training steps of all rounds together")
    batch: int = Field(8, ge=1, description="tiles in a step")
    tile_px: int = Field(192, ge=64, multiple_of=32, description="side of a training tile")
    regions: int = Field(
        240, ge=1, description="regions of twice that side, drawn over the cohort to train on"
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-3, ge=0, description="weight decay of AdamW")
    distance_weight: float = Field(2.0, ge=0, description="weight of the loss of the head")
    averaging: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights")
    annotated_share: float = Field(
        0.5, ge=0, le=1, description="share of tiles drawn from annotated fields, if there are any"
    )


class Inference(Section):
    """Stage 6: model to cells of every tile."""

    halo_um: float = Field(
        24,
        ge=0,
        description="border read around a tile, microns: wide enough, cells do not show the tiles",
    )
    batch: int = Field(4, ge=1, description="tiles in a batch")
    foreground: float = Field(
        0,
        ge=0,
        lt=1,
        description="least foreground probability; 0: that which the training found to fit",
    )
    depth_weight: float = Field(
        0.7,
        ge=0,
        le=1,
        description="weight of the depth inside the foreground, beside that of the network's"
        " height map, where peaks are sought",
    )
    seed_height: float = Field(
        0.05,
        ge=0,
        le=1,
        description="least rise of a peak over its saddle",
    )
    seed_distance: float = Field(0.2, ge=0, le=1, description="least height of a peak")
    min_area_um2: float = Field(4, ge=0, description="smallest cell, square microns")
    min_relative_area: float = Field(
        0.3, ge=0, lt=1, description="smallest cell, as a share of the median in training"
    )
    opening_um: float = Field(0.75, ge=0, description="radius of the opening of a cell, microns")
    rotations: int = Field(
        1, ge=1, le=4, description="positions of a tile, a quarter turn apart, that are averaged"
    )
    ring_um: float = Field(
        2, gt=0, description="width of the ring around a cell where stain is measured, microns"
    )
    maps: bool = Field(
        False,
        description="also write the maps of the U-Net, `maps.zarr`: probability of each class, and"
        " height",
    )


class Stitching(Section):
    """Stage 7: cells of tiles to cells of the slide."""

    overlap: float = Field(
        0.4, gt=0, le=1, description="share of the smaller outline that makes two cells one"
    )


class Export(Section):
    """Stage 8: files for other programs."""

    formats: tuple[ExportFormat, ...] = Field(
        ("qupath", "table"),
        description="qupath: zip of GeoJSON parts; table: measurements; points: centroids by class"
        " and hot spots, for QuPath; annotation_store:"
        " tiatoolbox; spatialdata: scverse; labels: OME-NGFF label image",
    )
    part_features: int = Field(10_000, ge=1, description="cells in one GeoJSON part")
    colours: tuple[Colour, ...] = Field(
        (), description="colours such as #009e73, in the order of the classes; the rest: a palette"
    )
    cell_expansion_um: float = Field(
        0,
        ge=0,
        le=50,
        description="width of a cell around its nucleus in QuPath, microns; 0: nuclei only",
    )


class Evaluation(Section):
    """Stage 9: cells against truth."""

    iou: float = Field(0.5, ge=0.1, lt=1, description="overlap that makes a match")
    radius_um: float = Field(3, gt=0, description="distance that makes a detection, microns")
    field_um: float = Field(
        125, gt=0, description="side of the fields that are resampled for intervals, microns"
    )
    resamples: int = Field(1000, ge=100, description="bootstrap resamples")
    controls: tuple[Control, ...] = Field(
        ("stain_otsu", "rgb_kmeans", "untrained_psm"), description="plain methods scored beside"
    )


class Report(Section):
    """Stage 10: one page for the cohort."""

    overview_px: int = Field(900, ge=100, description="longest side of a slide's overview")
    detail_um: float = Field(100, gt=0, description="side of the detail views, microns")
    full_slides: int = Field(
        24, ge=0, description="slides shown with all pictures, doubtful ones first; the rest small"
    )


class Config(Section):
    """The whole configuration file."""

    slides: str = Field("config/slides.tsv", description="the slide sheet")
    results: str = Field("results", description="folder of all products")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of every draw by chance")
    models: tuple[Model, ...] = Field(("unet",), min_length=1, description="segmenters")
    tiling: Tiling = Tiling()
    pretraining: Pretraining = Pretraining()
    activation: Activation = Activation()
    pseudomasks: Pseudomasks = Pseudomasks()
    training: Training = Training()
    sam: Sam = Sam()
    inference: Inference = Inference()
    prompting: Prompting = Prompting()
    stitching: Stitching = Stitching()
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
