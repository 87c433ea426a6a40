"""Classes of nuclei by what is measured in each."""

import numpy as np
import pytest

from wsipsm.pseudomasks.classes import DAB_STEP, fit_density, fit_morphology


def stained(negative: int, positive: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat([1, 2], [negative, positive])
    return np.where(truth == 1, 0.05, 0.6) + rng.normal(0, 0.04, len(truth)), truth


@pytest.mark.parametrize(("negative", "positive"), [(300, 300), (600, 6), (6, 600), (40, 0)])
def test_positive_nuclei_are_found_where_they_are_rare_or_absent(
    negative: int, positive: int
) -> None:
    density, truth = stained(negative, positive)
    found = fit_density(density, classes=2, stain="ihc", seed=0)
    assert (found.of(density[:, None]) == truth).all()


def test_a_slide_of_one_class_is_parted_at_the_published_density() -> None:
    negative, _ = stained(200, 0)
    assert fit_density(negative, classes=2, stain="ihc", seed=0).borders == (DAB_STEP,)
    assert fit_density(np.zeros(0), classes=3, stain="ihc", seed=0).borders == pytest.approx(
        (DAB_STEP, 2 * DAB_STEP)
    )


def test_classes_of_haematoxylin_are_numbered_by_rising_density() -> None:
    density, truth = stained(100, 50)
    found = fit_density(density, classes=2, stain="he", seed=0)
    assert (found.of(density[:, None]) == truth).all()
    assert fit_density(density, classes=1, stain="he", seed=0).of(density[:, None]).max() == 1


def test_classes_of_morphology_are_numbered_by_rising_area() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 4, 300)
    measured = np.stack([2.0 * truth, -1.0 * truth, rng.normal(0, 1, 300)], 1)
    measured += rng.normal(0, 0.05, measured.shape)
    found = fit_morphology(measured, classes=3, seed=0)
    assert (found.of(measured) == truth).mean() > 0.95
    assert fit_morphology(measured, classes=3, seed=0) == found
