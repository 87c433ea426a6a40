"""How chunks are coded: by `zarrs` in Rust, on the thread that asks, the same bytes each time.

Importing it makes this the codec pipeline of the process, and of the arrays that travel to it.
"""

from __future__ import annotations

from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarrs import ZarrsCodecPipeline

from wsipsm.io.jpeg_codec import NAME


class CodecPipeline(ZarrsCodecPipeline):
    """zarrs with one thread for a call: more of them lay the chunks of a shard in any order.

    Several shards are still written at once, each by the thread that asks for it. Arrays with our
    own codec, which zarrs does not know, are left to zarr itself.
    """

    @classmethod
    def from_array_metadata_and_store(cls, array_metadata: Any, store: Store) -> Any:
        """Make the pipeline of an array."""
        if NAME in str(array_metadata.to_dict().get("codecs")):
            return BatchedCodecPipeline.from_codecs(array_metadata.codecs)
        with zarr.config.set({"threading.max_workers": 1}):
            return super().from_array_metadata_and_store(array_metadata, store)

    def __setstate__(self, state: Any) -> None:
        """Make the pipeline of an array that arrives at a worker."""
        with zarr.config.set({"threading.max_workers": 1}):
            super().__setstate__(state)


register_pipeline(CodecPipeline)
zarr.config.set({"codec_pipeline.path": f"{__name__}.{CodecPipeline.__qualname__}"})
