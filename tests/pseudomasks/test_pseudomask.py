"""Stage 4 on a drawn slide: labels, shards, classes, truth."""

from pathlib import Path

import numpy as np
import pytest

from wsipsm.config import Pseudomasks
from wsipsm.io import ngff
from wsipsm.io.product import read_record
from wsipsm.io.tiles import open_tiles
from wsipsm.pseudomasks.pseudomask import pseudomask

from ..benchmarks.ihc import labelled, scores
from ..tiling.test_tile import digest


def labels_of(product: Path) -> tuple[np.ndarray, np.ndarray]:
    group = ngff.open_group(product)
    return np.asarray(group["labels/classes/0"]), np.asarray(group["labels/instances/0"])


def test_classes_and_instances_agree_and_tiles_without_tissue_are_empty(products) -> None:
    classes, instances = labels_of(products.pseudomasks)
    assert set(np.unique(classes)) <= {0, 1, 255}
    assert (instances > 0)[classes == 1].all()
    assert (classes > 0)[instances > 0].all()
    kept = np.kron(open_tiles(products.tiles).kept, np.ones((128, 128), bool))
    assert not classes[~kept].any()
    assert read_record(products.pseudomasks)["classes"] == ["nucleus"]


def test_an_object_has_one_confidence_and_little_of_it_means_ignore(products) -> None:
    classes, instances = labels_of(products.pseudomasks)
    found = np.asarray(ngff.open_group(products.pseudomasks)["labels/confidence/0"])
    assert ((found > 0) == (instances > 0)).all()
    ids = np.unique(instances[instances > 0])
    values = {place: np.unique(found[instances == place]) for place in ids[:40].tolist()}
    assert all(len(value) == 1 for value in values.values())
    least = 1 + 254 * Pseudomasks().min_confidence
    assert (found[classes == 1] >= np.floor(least)).all()
    assert found.max() > 150


def test_the_record_says_what_was_chosen_and_why(products) -> None:
    choice = read_record(products.pseudomasks)["codebook"]["choice"]
    assert choice["reason"].startswith(f"{choice['method']}: ")
    assert set(choice["scores"]) == {"stain", "cluster", "contrast"}


def test_objects_lie_on_the_true_nuclei(products, drawn_slides: Path) -> None:
    _, instances = labels_of(products.pseudomasks)
    truth = np.asarray(ngff.open_group(drawn_slides / "phantom_1.labels.zarr")["1"]) > 0
    found = instances > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.6


def test_an_object_on_a_shard_border_has_one_name(products) -> None:
    _, instances = labels_of(products.pseudomasks)
    left, right = instances[:, 255], instances[:, 256]
    touching = (left > 0) & (right > 0)
    assert touching.any()
    assert (left == right)[touching].mean() > 0.8


def test_workers_do_not_change_a_byte(products, tmp_path: Path) -> None:
    for workers in (1, 3):
        pseudomask(
            products.tiles,
            products.activation,
            tmp_path / f"{workers}.zarr",
            settings=Pseudomasks(),
            seed=0,
            workers=workers,
        )
    assert digest(tmp_path / "1.zarr") == digest(tmp_path / "3.zarr")
    assert digest(tmp_path / "1.zarr") == digest(products.pseudomasks)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_labelling_index_of_all_nuclei_found_is_that_of_those_drawn(
    tmp_path: Path, seed: int
) -> None:
    true, found = labelled(tmp_path, seed=seed, size_px=2048)
    assert len(found.places) > 600
    assert found.index == pytest.approx(true.index, abs=0.021)
    values = scores(true, found)
    for name, least in (("negative", 0.78), ("positive", 0.9)):
        assert values[f"class {name}"] > 0.97
        assert values[f"found {name}"] > least
