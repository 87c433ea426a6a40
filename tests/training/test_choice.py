"""Which fields are learnt from: the dense, varied and confident ones."""

from dataclasses import replace

import pytest

from wsipsm.errors import DataError
from wsipsm.training.choice import QUALITIES, Field, choose_fields, in_turn, scores
from wsipsm.training.cohort import Masked
from wsipsm.types import Region

from ..io.test_annotations import drawn, write
from .test_fields import in_level_0

PLAIN = Field(0, Region(0, 0, 64, 64), cells=20, density=20.0, variety=0.4, confidence=0.8)


@pytest.mark.parametrize("name", QUALITIES)
def test_more_of_each_quality_is_better(name: str) -> None:
    better = replace(PLAIN, **{name: 2 * getattr(PLAIN, name)})
    found = scores([PLAIN, better, PLAIN])
    assert found[1] > found[0] == found[2]


def test_no_slide_gives_all_fields() -> None:
    fields = [replace(PLAIN, slide=slide, density=density) for slide, density in
              [(0, 9.0), (0, 8.0), (0, 7.0), (1, 1.0), (1, 2.0)]]  # fmt: skip
    assert in_turn(fields, scores(fields)) == [0, 4, 1, 3, 2]


def test_tiles_are_chosen_where_nothing_is_annotated(products) -> None:
    cohort = [Masked(products.tiles, products.pseudomasks)]
    every, facts = choose_fields(cohort, count=0, seed=0)
    best, said = choose_fields(cohort, count=2, seed=0)
    assert best == every[:2]
    assert said == facts[:2]
    assert all(field.cells for field in every)
    assert best[0].density > every[-1].density
    assert said[0]["slide"] == "phantom_1"
    assert said[0]["reason"].startswith(f"1 of {len(every)} by density ")


def test_annotated_fields_go_before_tiles_and_an_empty_one_teaches_nothing(
    products, tmp_path
) -> None:
    slide = Masked(products.tiles, products.pseudomasks).tiles
    boxes = {"full": (100, 100, 260, 260), "empty": (300, 300, 380, 380)}
    shapes = [drawn(in_level_0(slide, box), "Region*") for box in boxes.values()]
    cells = [
        drawn(in_level_0(slide, (x, y, x + 12, y + 9)), "nucleus")
        for x in range(110, 250, 30)
        for y in range(110, 250, 30)
    ]
    path = write(tmp_path / "fields.geojson", *shapes, *cells)
    cohort = [Masked(products.tiles, products.pseudomasks, str(path))]
    (field,), facts = choose_fields(cohort, count=0, seed=0)
    assert field.cells == len(cells)
    assert facts[0]["region"] == [100, 100, 161, 161]
    empty = write(tmp_path / "empty.geojson", shapes[1])
    with pytest.raises(DataError, match="no field or tile shows a cell"):
        choose_fields([Masked(products.tiles, products.pseudomasks, str(empty))], count=1, seed=0)
