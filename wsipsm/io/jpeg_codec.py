"""A Zarr v3 codec that stores chunks of an RGB image as JPEG: a fifth of the size, with a loss.

It is registered under the entry point group `zarr.codecs`, so that any program opens such arrays
where this package is installed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration

NAME = "wsipsm.jpeg"


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """Chunks uint8 (3, y, x) to JPEG, red, green and blue at full resolution, and back.

    Attributes
    ----------
    quality
        1 to 100, as of libjpeg.
    """

    is_fixed_size = False
    quality: int = 90

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Make the codec that the metadata of an array describe."""
        _, configuration = parse_named_configuration(data, NAME, require_configuration=False)
        return cls(**(configuration or {}))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, JSON]:
        """Describe the codec for the metadata of an array."""
        return {"name": NAME, "configuration": {"quality": self.quality}}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: the size of a JPEG is not known before it is made."""
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        pixels = chunk_array.as_numpy_array()
        encoded = await asyncio.to_thread(self.encode_pixels, pixels)
        return chunk_spec.prototype.buffer.from_bytes(encoded)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = await asyncio.to_thread(imagecodecs.jpeg8_decode, chunk_data.to_bytes())
        planes: Any = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)).reshape(chunk_spec.shape)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(planes)

    def encode_pixels(self, pixels: NDArray[np.uint8]) -> bytes:
        """Code pixels uint8 (3, y, x)."""
        interleaved = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        return bytes(imagecodecs.jpeg8_encode(interleaved, level=self.quality, subsampling="444"))
