"""Segment Anything as its authors publish it: loaded, resized and asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from wsipsm.checks import check_base
from wsipsm.config import Config, Sam
from wsipsm.errors import SettingsError
from wsipsm.models.sam import CELL, PASSIVE, build_sam, decode, embed, load_sam
from wsipsm.models.sam_file import PUBLISHED, find_base

from .sam_files import MOBILE, published, shake, tiny_sam, vit_sam

MODELS = {"vit": vit_sam, "tiny": tiny_sam}


@pytest.fixture(params=MODELS)
def made(request: pytest.FixtureRequest) -> torch.nn.Module:
    return shake(MODELS[request.param]())


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_every_published_size_has_the_keys_and_shapes_of_its_authors(name: str) -> None:
    with torch.device("meta"):
        theirs = sam_model_registry[name]().state_dict()
        ours = build_sam(theirs, input_px=1024).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_mobile_sam_has_the_size_that_its_authors_give() -> None:
    with torch.device("meta"):
        theirs = published(tiny_sam(**MOBILE))
    blocks = {".".join(key.split(".")[1:5]) for key in theirs if ".attn.qkv.weight" in key}
    assert len(blocks) == 10
    assert theirs["image_encoder.layers.2.blocks.5.attn.qkv.weight"].shape == (480, 160)
    assert theirs["image_encoder.layers.2.downsample.conv2.c.weight"].shape == (320, 1, 3, 3)
    head = 2 * 320 + 320 * 1000 + 1000  # of the classifier that it was made from
    size = 4 * (head + sum(value.numel() for value in theirs.values()))
    # what is more in the file is its zip: a header for each weight
    assert 0 < 40_728_226 - size < 400 * len(theirs)


def test_the_answer_is_that_of_the_authors_model(made: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(published(made), tmp_path / "sam.pth")
    image = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(1)) * 255
    points = torch.tensor([[30.0, 90.0], [64.0, 20.5]])
    labels = torch.tensor([CELL, PASSIVE])
    asked = {
        "image": image,
        "original_size": (128, 128),
        "point_coords": points[:, None] - 0.5,
        "point_labels": labels[:, None],
    }
    (wanted,) = made([asked], multimask_output=False)
    sam = load_sam(tmp_path / "sam.pth", input_px=128)
    with torch.inference_mode():
        logits, scores = decode(sam, embed(sam, image[None])[0], points, labels)
    torch.testing.assert_close(logits, wanted["low_res_logits"][:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(scores, wanted["iou_predictions"][:, 0], rtol=0, atol=1e-5)
    assert logits.std() > 1e-3


def test_tables_of_positions_are_resized_as_the_authors_resize_relative_ones() -> None:
    made = shake(vit_sam())
    state = published(made)
    sam = build_sam(state, input_px=192)
    attention = made.image_encoder.blocks[1].attn
    tokens = torch.rand(1, 12, 12, 32)
    with torch.inference_mode():
        wanted = attention(tokens)
        found = sam.image_encoder.blocks[1].attn(tokens)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert sam.image_encoder.pos_embed.shape == (1, 12, 12, 32)
    assert embed(sam, torch.zeros(1, 3, 192, 192)).shape == (1, 32, 12, 12)
    back = build_sam(sam.state_dict(), input_px=128).image_encoder.pos_embed
    away = (back - made.image_encoder.pos_embed).abs().mean()
    assert away < 0.6 * made.image_encoder.pos_embed.abs().mean()


def test_a_smaller_input_needs_no_table_in_a_tiny_model() -> None:
    sam = build_sam(published(shake(tiny_sam())), input_px=96)
    assert embed(sam, torch.zeros(1, 3, 96, 96)).shape == (1, 32, 6, 6)


def weights(tmp_path: Path) -> Path:
    path = tmp_path / "base.pth"
    torch.save(published(shake(vit_sam())), path)
    return path


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no.pth: no such file; get sam_vit_b.* and name it"):
        find_base(str(tmp_path / "no.pth"), sha256="")


def test_a_base_is_looked_for_before_anything_runs(tmp_path: Path) -> None:
    def check(base: str, model: str = "sam_lora") -> None:
        check_base(Config(models=(model,), sam=Sam(base=base)))

    for known in (*PUBLISHED, "https://a.b/c.pth", str(weights(tmp_path))):
        check(known)
    check("no.pth", "unet")
    with pytest.raises(SettingsError, match=r"no.pth: no such file; get sam_vit_b.* and name it"):
        check("no.pth")


def test_another_file_than_the_one_named_is_one_sentence(tmp_path: Path) -> None:
    path = weights(tmp_path)
    found = find_base(str(path), sha256="")
    assert found[0] == path
    assert find_base(str(path), sha256=found[1].upper()) == found
    with pytest.raises(SettingsError, match=r"another file, or damaged; get .* correct sam"):
        find_base(str(path), sha256="0" * 64)


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    path = weights(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SettingsError, match="no weights, or truncated; get sam_vit_b"):
        load_sam(path, input_px=128)


class Attack:
    """What runs code where a loader trusts a file."""

    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("content", [{"a": Attack()}, {"a": torch.zeros(2)}, [torch.zeros(2)]])
def test_another_kind_of_file_is_refused_and_runs_no_code(tmp_path, content, capsys) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=r"other.pth: .*; get sam_vit_b"):
        load_sam(tmp_path / "other.pth", input_px=128)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path, change: str) -> None:
    state = published(vit_sam())
    key = "mask_decoder.output_upscaling.0.weight"
    if change == "missing":
        del state[key]
    else:
        state[key] = state[key][:5]
    torch.save(state, tmp_path / "sam.pth")
    with pytest.raises(SettingsError, match="not the weights of a Segment Anything"):
        load_sam(tmp_path / "sam.pth", input_px=128)


def test_an_address_is_fetched_once_and_checked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    source = weights(tmp_path)
    url = source.as_uri()
    wanted = find_base(str(source), sha256="")[1]
    with pytest.raises(SettingsError, match="its SHA-256 is not"):
        find_base(url, sha256="0" * 64)
    path, found = find_base(url, sha256=wanted)
    assert found == wanted
    assert path.parent == tmp_path / "cache/hub/wsipsm"
    source.unlink()
    assert find_base(url, sha256=wanted) == (path, wanted)
    with pytest.raises(SettingsError, match="cannot be fetched"):
        find_base(f"{url}.other", sha256="")


def test_published_files_have_an_address_and_a_digest() -> None:
    assert list(PUBLISHED) == ["vit_b", "vit_l", "vit_h", "vit_t"]
    assert len({each.sha256 for each in PUBLISHED.values()}) == 4
    assert all(len(each.sha256) == 64 for each in PUBLISHED.values())
    assert np.all([each.url.startswith("https://") for each in PUBLISHED.values()])
