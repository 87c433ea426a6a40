"""Whether settings fit together and their files are there, looked at before anything runs."""

from __future__ import annotations

from pathlib import Path

from wsipsm.config import Config
from wsipsm.errors import SettingsError

SAM_NAMES = ("vit_b", "vit_l", "vit_h", "vit_t")
"""Weights of Segment Anything and MobileSAM that are fetched by their name."""

WHERE = "get sam_vit_b_01ec64.pth from github.com/facebookresearch/segment-anything"

NO_MAPS = (
    "inference.maps: sam_lora draws cells one by one and has no maps; set it to false, or segment"
    " with unet alone"
)


def check_base(settings: Config) -> None:
    """Refuse weights of Segment Anything that are asked for by a path where no file is.

    Raises
    ------
    SettingsError
        The file is not there.
    """
    base = settings.sam.base
    fetched = "://" in base or base in SAM_NAMES
    if "sam_lora" in settings.models and not fetched:
        local_base(base)


def check_init(settings: Config) -> None:
    """Refuse to start the U-Net at the weights of an activation network of another architecture.

    Raises
    ------
    SettingsError
        The two backbones differ.
    """
    ours, theirs = settings.training.backbone, settings.pretraining.backbone
    if settings.training.init == "encoder" and ours != theirs:
        raise SettingsError(
            f"training.init: encoder, but training.backbone is {ours} and pretraining.backbone is"
            f" {theirs}; give both the same timm ResNet, such as resnet18, or start at random"
        )


def check_maps(settings: Config) -> None:
    """Refuse maps of a segmenter that has none.

    Raises
    ------
    SettingsError
        Maps are asked for, and Segment Anything is among the segmenters.
    """
    if settings.inference.maps and "sam_lora" in settings.models:
        raise SettingsError(NO_MAPS)


def local_base(base: str) -> Path:
    """The file of `sam.base` that is given by its path.

    Raises
    ------
    SettingsError
        The file is not there.
    """
    if not Path(base).is_file():
        raise SettingsError(f"sam.base: {base}: no such file; {WHERE}, and name it there")
    return Path(base)
