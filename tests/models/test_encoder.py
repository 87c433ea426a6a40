"""Prior self-activation maps against the formula of the paper, written out by hooks."""

from functools import partial

import numpy as np
import pytest
import torch

from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.models.encoder import (
    Encoder,
    activation_maps,
    channel_weights,
    frozen,
    load_encoder,
    map_stride,
    reach_px,
    untrained_like,
)
from wsipsm.models.input import to_input


def encoder(backbone: str = "resnet18", outputs: int = 1) -> Encoder:
    torch.manual_seed(0)
    network = Encoder(backbone, outputs=outputs)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # at first they switch most blocks off
            torch.nn.init.uniform_(module.weight, 0.5, 1)
    return frozen(network)


def keep_output(taken: list, module, inputs, output) -> None:  # noqa: ARG001
    taken.append(output)


def reference(network: Encoder, images: torch.Tensor, layer: str) -> torch.Tensor:
    """The map of one image at a time, from a whole backward pass with every gradient on."""
    maps = []
    for image in images:
        taken: list[torch.Tensor] = []
        network.requires_grad_(True)
        blocks = getattr(network.backbone, layer)
        keep = partial(keep_output, taken)
        hooks = [block.register_forward_hook(keep) for block in blocks]
        out = network(image[None])
        score = out[0, 0] if out.shape[1] == 1 else out.square().sum() / 2
        gradients = torch.autograd.grad(score, taken)
        for hook in hooks:
            hook.remove()
        network.requires_grad_(False)
        maps.append(
            torch.stack(
                [
                    (g.mean((2, 3))[0, :, None, None] * a[0]).sum(0)
                    for g, a in zip(gradients, taken, strict=True)
                ]
            )
        )
    return torch.stack(maps).detach()


@pytest.mark.parametrize(
    ("backbone", "outputs", "layer"),
    [("resnet18", 1, "layer1"), ("resnet18", 4, "layer2"), ("res2net50_26w_4s", 1, "layer1")],
)
def test_maps_agree_with_the_formula(backbone: str, outputs: int, layer: str) -> None:
    network = encoder(backbone, outputs)
    images = torch.randn(2, 3, 64, 96)
    maps = activation_maps(network, images, layers=(layer,))
    stride = map_stride((layer,))
    assert maps.shape[-2:] == (64 // stride, 96 // stride)
    wanted = reference(network, images, layer)
    torch.testing.assert_close(maps, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))


def test_shared_weights_make_maps_without_seams() -> None:
    network = encoder()
    image = torch.randn(1, 3, 64, 192)
    weights = [w.mean(0, keepdim=True) for w in channel_weights(network, image, layers=("layer1",))]
    whole = activation_maps(network, image, weights=weights)
    left = activation_maps(network, image[..., :128], weights=weights)
    # beyond the reach of the border, a part of the image has the map of the whole
    torch.testing.assert_close(left[..., :20], whole[..., :20], rtol=1e-4, atol=1e-5)


def test_the_reach_is_as_far_as_a_pixel_changes_the_map() -> None:
    for backbone, layers, wanted in (
        ("resnet18", ("layer1",), 21),  # 7, then 3 at stride 2, then four times 3 at stride 4
        ("resnet18", ("layer1", "layer2"), 49),
        ("res2net50_26w_4s", ("layer1",), 33),
    ):
        assert reach_px(encoder(backbone), layers) == wanted
    network = encoder()
    image = torch.randn(1, 3, 64, 128)
    weights = [torch.ones(1, 64), torch.ones(1, 64)]
    touched = image.clone()
    touched[..., 64 + 22] += 100
    plain, other = (activation_maps(network, i, weights=weights) for i in (image, touched))
    assert torch.equal(plain[..., :17], other[..., :17])
    assert not torch.equal(plain[..., 17:20], other[..., 17:20])


def test_several_stages_are_mapped_on_the_grid_of_the_finest() -> None:
    network = encoder()
    images = torch.randn(1, 3, 64, 96)
    both = activation_maps(network, images, layers=("layer1", "layer2"))
    assert both.shape == (1, 4, 16, 24)
    deep = activation_maps(network, images, layers=("layer2",))
    torch.testing.assert_close(both[:, 2:, ::2, ::2], deep, rtol=1e-3, atol=1e-6)
    shallow = activation_maps(network, images, layers=("layer1",))
    torch.testing.assert_close(both[:, :2], shallow, rtol=1e-3, atol=1e-6)


def test_maps_do_not_depend_on_the_batch() -> None:
    network = encoder()
    images = torch.randn(4, 3, 64, 96).to(memory_format=torch.channels_last)
    weights = [torch.randn(4, 64) for _ in range(2)]
    together = activation_maps(network, images, weights=weights)
    for number in range(4):
        own = [weight[[number]] for weight in weights]
        alone = activation_maps(network, images[[number]], weights=own)
        assert torch.equal(alone, together[[number]])


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(SettingsError, match="no stage 'layer9'"):
        map_stride(("layer1", "layer9"))


def test_a_network_outside_the_family_is_refused() -> None:
    for name in ("vit_tiny_patch16_224", "no_such_network"):
        with pytest.raises(SettingsError, match="ResNet family"):
            Encoder(name)


def test_a_checkpoint_gives_back_the_network(tmp_path) -> None:
    network = encoder()
    path = tmp_path / "encoder.pt"
    save_checkpoint(path, network.state_dict(), {"architecture": network.architecture})
    again, record = load_encoder(path)
    images = to_input(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8))
    assert torch.equal(network(images), again(images))
    other = untrained_like(record, seed=1)
    assert not torch.equal(network(images), other(images))
    assert torch.equal(untrained_like(record, seed=1)(images), other(images))


def test_a_damaged_checkpoint_is_one_sentence(tmp_path) -> None:
    path = tmp_path / "encoder.pt"
    with pytest.raises(SettingsError, match="no such weights"):
        load_encoder(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(SettingsError, match="not a checkpoint"):
        load_encoder(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save({"record": "{}", "state": print}, path)
    with pytest.raises(SettingsError, match="not a checkpoint"):
        load_encoder(path)
