"""U-Nets of every backbone, and the seam behind which they segment."""

import numpy as np
import pytest
import torch

from wsipsm.config import Inference
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.models.heads import HEADS
from wsipsm.models.segmenter import UNetSegmenter, load_segmenter
from wsipsm.models.unet import Committee, UNet, statistics_of, with_statistics


@pytest.mark.parametrize("backbone", ["small", "resnet18", "resnet34"])
def test_every_backbone_gives_scores_and_maps_at_full_size(backbone: str) -> None:
    for head, channels in (("distance", 5), ("hv", 6)):
        network = UNet(backbone, classes=3, head=head).eval()
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, 64, 96)).shape == (1, channels, 64, 96)


def test_an_unknown_backbone_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="no network 'nothing'"):
        UNet("nothing", classes=1)


def test_a_slide_in_another_stain_looks_alike_by_its_own_statistics() -> None:
    network = UNet("small", classes=1).eval()
    here = torch.rand(2, 3, 128, 128)
    there = 0.3 * here - 0.4  # paler and darker
    with torch.inference_mode():
        own, other = (with_statistics(network, statistics_of(network, x)) for x in (here, there))
        by_own, by_other = ((o - own(here)).abs().mean() for o in (other(there), own(there)))
        assert by_own < 0.2 * by_other  # not 0: the border is padded with 0 in both
        alone = network(here)
        assert torch.equal(with_statistics(network, {})(here), alone)  # and nothing was changed


def test_members_of_a_committee_keep_their_own_statistics() -> None:
    torch.manual_seed(0)
    committee = Committee.of("small", classes=1, members=2).eval()
    images = torch.rand(2, 3, 64, 64)
    seen = with_statistics(committee, statistics_of(committee, images))
    with torch.inference_mode():
        alone = [with_statistics(one, statistics_of(one, images)) for one in committee.members]
        wanted = torch.stack([member(images) for member in alone])
        assert torch.equal(seen(images), wanted)
    assert not torch.equal(wanted[0], wanted[1])
    pairs = zip(committee.parameters(), seen.parameters(), strict=True)
    assert all(own is shared for own, shared in pairs)  # a slide's many specimens take one network


class Drawn(UNet):
    """A network whose output is given: the seam is tested on known scores."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__("small", classes=output.shape[1] - 2)
        self.output = output

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.output


def test_cells_come_with_class_and_score() -> None:
    y, x = np.indices((64, 64))
    output = np.zeros((1, 4, 64, 64), np.float32)
    output[0, 0] = 6
    for number, cx in enumerate((18, 40), start=1):
        away = np.hypot(y - 30, x - cx)
        output[0, number][away < 10] = 12
        output[0, 3] = np.maximum(output[0, 3], np.clip(1 - away / 10, 0, 1))
    network = Committee([Drawn(torch.from_numpy(output))])
    segmenter = UNetSegmenter(network, settings=Inference(foreground=0.4), mpp=0.25)
    (found,) = segmenter(np.zeros((1, 3, 64, 64), np.uint8))
    assert found.labels.max() == 2
    assert sorted(found.classes.tolist()) == [1, 2]
    assert found.classes[found.labels[30, 18] - 1] == 1
    assert (found.scores > 0.9).all()
    assert (found.agreement == 1).all()
    assert abs((found.labels == 1).sum() - np.pi * 100) < 30


def disks(*circles: tuple[int, int, float]) -> Drawn:
    """A network that sees these disks (y, x, radius)."""
    y, x = np.indices((64, 64))
    output = np.zeros((1, 3, 64, 64), np.float32)
    output[0, 0] = 6
    for cy, cx, radius in circles:
        away = np.hypot(y - cy, x - cx)
        output[0, 1][away < radius] = 12
        output[0, 2] = np.maximum(output[0, 2], np.clip(1 - away / radius, 0, 1))
    return Drawn(torch.from_numpy(output))


def test_members_agree_on_what_they_all_see() -> None:
    network = Committee([disks((30, 18, 10), (30, 48, 10)), disks((30, 18, 10))])
    segmenter = UNetSegmenter(network, settings=Inference(foreground=0.4), mpp=0.25)
    (found,) = segmenter(np.zeros((1, 3, 64, 64), np.uint8))
    both, one = (found.labels[30, x] - 1 for x in (18, 48))
    assert found.agreement[both] > 0.99
    assert found.agreement[one] < 0.01
    assert found.scores[one] == pytest.approx(0.5, abs=0.01)


def test_cells_far_smaller_than_those_of_the_training_are_dropped() -> None:
    network = Committee([disks((30, 18, 10), (30, 48, 6))])
    plain = UNetSegmenter(network, settings=Inference(), mpp=0.25)
    image = np.zeros((1, 3, 64, 64), np.uint8)
    counts = [
        plain.adapted(foreground=0.4, median_area_um2=area)(image)[0].labels.max()
        for area in (0, 10, 30)
    ]
    assert counts == [2, 2, 1]


def test_what_is_far_larger_than_a_cell_is_none() -> None:
    network = Committee([disks((30, 16, 7), (30, 44, 14))])
    plain = UNetSegmenter(network, settings=Inference(), mpp=0.25)
    for median_um2, wanted in ((5.0, 2), (1.5, 1)):  # the disks have 10 and 38
        segmenter = plain.adapted(foreground=0.4, median_area_um2=median_um2)
        assert len(segmenter(np.zeros((1, 3, 64, 64), np.uint8))[0].scores) == wanted


def test_a_threshold_in_the_settings_goes_before_that_of_the_training() -> None:
    network = Committee([disks((30, 30, 10))])
    for given, wanted in ((0.0, 0.3), (0.7, 0.7)):
        plain = UNetSegmenter(network, settings=Inference(foreground=given), mpp=0.25)
        assert plain.adapted(foreground=0.3).settings.foreground == wanted


@pytest.mark.parametrize("head", HEADS)
def test_averaging_over_turns_makes_a_network_blind_to_them(head: str) -> None:
    torch.manual_seed(0)
    network = Committee.of("small", classes=1, members=2, head=head).eval()
    image = np.random.default_rng(0).integers(0, 255, (1, 3, 64, 64), np.uint8)
    turned = np.rot90(image, axes=(2, 3)).copy()
    for rotations, equal in ((1, False), (4, True)):
        settings = Inference(rotations=rotations)
        segmenter = UNetSegmenter(network, settings=settings, mpp=0.25)
        segmenter = segmenter.knowing(segmenter.look(image))
        (chances, height, _), (others, far, _) = segmenter.maps(image), segmenter.maps(turned)
        back = np.rot90(others, -1, axes=(2, 3)), np.rot90(far, -1, axes=(1, 2))
        assert np.allclose(chances, back[0], atol=1e-5) == equal
        assert np.allclose(height, back[1], atol=1e-5) == equal


def test_an_empty_tile_has_no_cells() -> None:
    output = torch.zeros(1, 3, 32, 32)
    output[:, 0] = 9
    network = Committee([Drawn(output)])
    segmenter = UNetSegmenter(network, settings=Inference(foreground=0.4), mpp=0.25)
    (found,) = segmenter(np.zeros((1, 3, 32, 32), np.uint8))
    assert found.labels.max() == len(found.scores) == len(found.classes) == 0


@pytest.mark.parametrize("absent", ["members", "head"])
def test_weights_of_an_earlier_version_are_refused(tmp_path, absent: str) -> None:
    network = Committee.of("small", classes=1, members=1)
    path = tmp_path / "model.pt"
    known = {name: fact for name, fact in network.architecture.items() if name != absent}
    record = {"model": "unet", "architecture": known}
    save_checkpoint(path, network.state_dict(), record)
    with pytest.raises(SettingsError, match="made by an earlier version; train again"):
        load_segmenter(path, settings=Inference(), mpp=0.25, device=torch.device("cpu"))


def test_weights_of_another_kind_are_refused(tmp_path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(path, {}, {"architecture": {}})
    with pytest.raises(SettingsError, match="not a model that segments"):
        load_segmenter(path, settings=Inference(), mpp=0.25, device=torch.device("cpu"))
