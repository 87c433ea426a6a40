"""Published weights of Segment Anything on real fields, where both are at hand."""

import os
from pathlib import Path

import pytest

from wsipsm.benchmark.fields import read_fields
from wsipsm.config import Sam
from wsipsm.evaluation.metrics import METRICS

from ..benchmarks.sam_one_image import Fields


@pytest.mark.real_weights
@pytest.mark.real_data
@pytest.mark.slow
def test_one_annotated_field_teaches_published_weights(test_data: Path, tmp_path: Path) -> None:
    first, other = read_fields([test_data / "monuseg_train"])[:2]
    fields = Fields.made([first, other], tmp_path)
    base = os.environ["WSIPSM_SAM_CHECKPOINT"]
    scores = []
    for steps in (1, 60):
        settings = Sam(base=base, input_px=256, view_um=64, steps=steps, batch=4, fields=1)
        model = fields.taught_by(first, settings)
        assert model.stat().st_size < 1e6
        scores.append(fields.score(model, other)[METRICS.index("f1")])
    assert scores[1] > scores[0]
