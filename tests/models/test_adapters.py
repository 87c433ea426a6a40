"""Adapters: nothing at first, little to learn, and nothing left of them once merged."""

import pytest
import torch
from segment_anything import sam_model_registry
from torch import Tensor, nn

from wsipsm.models.adapters import (
    AdaptedSam,
    SplitQkv,
    adapt,
    adapter_state,
    load_adapter,
    merge,
    split_qkv,
)
from wsipsm.models.sam import CELL, build_sam, decode, embed

from .sam_files import MOBILE, published, shake, tiny_sam, vit_sam

MODELS = {"vit": vit_sam, "tiny": tiny_sam}
BOTH = ("encoder", "decoder")


@pytest.fixture(params=MODELS)
def sam(request: pytest.FixtureRequest) -> nn.Module:
    made = MODELS[request.param]()
    return build_sam(published(shake(made)), input_px=128)


def answer(sam: nn.Module) -> Tensor:
    """Logits of a fixed picture and point, which depend on every adapter."""
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)) * 255
    found = decode(sam, embed(sam, image)[0], torch.tensor([[40.0, 70.0]]), torch.tensor([CELL]))
    return torch.cat([part.flatten() for part in found])


def adapted(sam: nn.Module, parts: tuple[str, ...] = BOTH, *, dropout: float = 0.0) -> AdaptedSam:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return adapt(sam, rank=4, alpha=4, dropout=dropout, parts=parts)


def learnt(sam: nn.Module, parts: tuple[str, ...] = BOTH) -> AdaptedSam:
    """A model whose adapters are no longer zero."""
    made = adapted(sam, parts)
    generator = torch.Generator().manual_seed(4)
    for value in made.parameters():
        if value.requires_grad:
            value.data = torch.randn(value.shape, generator=generator) * 0.1
    return made


@torch.inference_mode()
def test_a_split_layer_gives_the_same_to_the_bit(sam: nn.Module) -> None:
    wanted = answer(sam)
    split_qkv(sam.image_encoder)
    assert sum(isinstance(module, SplitQkv) for module in sam.modules()) >= 3
    torch.testing.assert_close(answer(sam), wanted, rtol=0, atol=0)


@torch.inference_mode()
def test_queries_of_a_split_layer_are_the_queries(sam: nn.Module) -> None:
    attention = next(module for module in sam.modules() if hasattr(module, "qkv"))
    encoder = sam.image_encoder
    tokens = torch.rand(5, attention.qkv.in_features)
    fused = attention.qkv(tokens)
    split_qkv(encoder)
    if hasattr(attention, "attention_biases"):
        wanted = fused.unflatten(-1, (attention.num_heads, 3, -1))[:, :, 0].flatten(1)
    else:
        wanted = fused[:, : fused.shape[1] // 3]
    torch.testing.assert_close(attention.qkv.q_proj(tokens), wanted)


def test_new_adapters_change_nothing(sam: nn.Module) -> None:
    with torch.inference_mode():
        wanted = answer(sam)
        made = adapted(sam, dropout=0.1).train()
        made.seed(5)
        torch.testing.assert_close(answer(made.sam), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("parts", [BOTH, ("decoder",), ("encoder",)])
@torch.inference_mode()
def test_a_merged_model_answers_as_the_adapted_one(sam: nn.Module, parts) -> None:
    before, names = answer(sam), list(sam.state_dict())
    made = learnt(sam, parts)
    wanted = answer(made.sam)
    assert (wanted - before).abs().max() > 1e-3
    merged = merge(made.sam)
    torch.testing.assert_close(answer(merged), wanted, rtol=0, atol=1e-5)
    left = [name for name in merged.state_dict() if name not in names]
    assert all(".qkv." in name and "lora" not in name for name in left)


@torch.inference_mode()
def test_one_base_takes_one_adapter_after_another(sam: nn.Module) -> None:
    state = {name: value.clone() for name, value in sam.state_dict().items()}
    first = learnt(sam)
    kept = adapter_state(first.sam)
    assert all(".lora_" in name for name in kept)
    again = adapted(build_sam_again(state))
    load_adapter(again.sam, kept)
    torch.testing.assert_close(answer(again.sam), answer(first.sam), rtol=0, atol=0)
    with pytest.raises(ValueError, match="does not fit"):
        load_adapter(adapted(build_sam_again(state), ("decoder",)).sam, kept)


def build_sam_again(state: dict[str, Tensor]) -> nn.Module:
    """The base of a model whose weights were put aside."""
    fresh = tiny_sam() if "image_encoder.body.patch_embed.conv1.conv.weight" in state else vit_sam()
    fresh.load_state_dict(state)
    return build_sam(published(fresh), input_px=128)


def count(sam: nn.Module, parts: tuple[str, ...]) -> int:
    made = adapt(sam, rank=4, alpha=4, dropout=0.1, parts=parts)
    return sum(value.numel() for value in made.parameters() if value.requires_grad)


@pytest.mark.parametrize(
    ("name", "parts", "wanted"),
    [
        ("vit_b", BOTH, 147_456 + 23_552),
        ("vit_b", ("decoder",), 23_552),
        ("vit_t", BOTH, 53_248),
    ],
)
def test_as_many_weights_learn_as_the_paper_counts(name: str, parts, wanted: int) -> None:
    with torch.device("meta"):
        if name == "vit_t":
            state = published(tiny_sam(**MOBILE))
        else:
            state = sam_model_registry[name]().state_dict()
        assert count(build_sam(state, input_px=512), parts) == wanted


def test_training_leaves_batch_norm_and_the_base_as_they_are() -> None:
    made = adapted(build_sam(published(shake(tiny_sam())), input_px=128), dropout=0.1).train()
    norms = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.seed(1)
    answer(made.sam).square().mean().backward()
    torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=1.0).step()
    changed = {n for n, v in made.state_dict().items() if not torch.equal(v, before[n])}
    assert changed
    assert all(".lora_B." in name for name in changed)


def test_dropout_follows_from_its_seed_alone() -> None:
    made = adapted(build_sam(published(shake(vit_sam())), input_px=128), dropout=0.5)
    for value in made.parameters():
        value.data += 0.05 * value.requires_grad
    found = []
    for seed in (1, 2, 1):
        made.train().seed(seed)
        with torch.inference_mode():
            found.append(answer(made.sam))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    made.eval()
    with torch.inference_mode():
        assert torch.equal(answer(made.sam), answer(made.sam))
