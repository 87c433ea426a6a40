"""Where the weights of a Segment Anything model are from, and that they are the right ones."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from wsipsm.checks import WHERE, local_base
from wsipsm.errors import SettingsError

_META = "https://dl.fbaipublicfiles.com/segment_anything"


@dataclass(frozen=True)
class Published:
    """A file that its authors publish, under Apache-2.0: its address and its SHA-256."""

    url: str
    sha256: str


PUBLISHED = {
    "vit_b": Published(
        f"{_META}/sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": Published(
        f"{_META}/sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": Published(
        f"{_META}/sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "vit_t": Published(
        "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
}
"""Segment Anything (Kirillov et al. 2023) in three sizes, and MobileSAM (Zhang et al. 2023)."""


def find_base(base: str, *, sha256: str) -> tuple[Path, str]:
    """The file of a base model and its SHA-256, fetched once where it is an address.

    Parameters
    ----------
    base
        A name of `PUBLISHED`, an address, or a path.
    sha256
        What the file's SHA-256 has to be. Where it is "", that which is published for a name,
        and anything for a path.

    Raises
    ------
    SettingsError
        The file is not there, cannot be fetched, or is another one.
    """
    known = PUBLISHED.get(base)
    address = known.url if known else base
    wanted = (sha256 or (known.sha256 if known else "")).lower()
    path = _fetched(address, wanted) if "://" in address else local_base(base)
    found = _sha256(path)
    if wanted and found != wanted:
        raise SettingsError(
            f"sam.base: {path}: SHA-256 {found} instead of {wanted}: another file, or damaged;"
            f" {_again(known)}, or correct sam.sha256"
        )
    return path, found


def read_state(path: Path) -> dict[str, Tensor]:
    """Weights of a file as `torch.save` writes them, by name; no code in it is run.

    Raises
    ------
    SettingsError
        The file is truncated, or holds anything but named weights.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise SettingsError(
            f"sam.base: {path}: no weights, or truncated; {WHERE}, and name it there"
        ) from None
    named = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not named:
        raise SettingsError(
            f"sam.base: {path}: no weights of a Segment Anything model; {WHERE}, and name it there"
        )
    return dict(state)


def _fetched(url: str, sha256: str) -> Path:
    """The file of an address in torch's cache, `TORCH_HOME`; it is complete there or not at all."""
    path = Path(torch.hub.get_dir()) / "wsipsm" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256 or None)
    except (URLError, OSError, ValueError) as error:
        raise SettingsError(
            f"sam.base: {url} cannot be fetched ({error}); {WHERE} on a machine with internet,"
            " and name its path"
        ) from None
    except RuntimeError:
        raise SettingsError(
            f"sam.base: {url}: its SHA-256 is not {sha256}; correct sam.base or sam.sha256"
        ) from None
    return path


def _again(known: Published | None) -> str:
    return f"delete it, and get {known.url} again" if known else WHERE


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
