"""The rule that finds what moves, in truth, renderings and flow."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from foreseen.data.types import Frame, Sequence
from foreseen.evaluation.moving_pixels import (
    background_picture,
    describe_moving_part,
    flow_mask,
    moving_mask,
    truth_mask,
)
from sliding_square import block, camera, make_dataset, picture, wall


def test_finds_the_square_exactly() -> None:
    assert torch.equal(moving_mask(picture("left", 3), wall()), block("left", 3))
    assert not moving_mask(wall(), wall()).any()


def test_a_small_difference_is_background_and_a_large_one_is_not() -> None:
    background = torch.tensor([0.5, 0.5, 0.5])
    image = background.expand(2, 3, 3).clone()
    image[0, 0, 0] += 0.07
    image[1, 1, 2] += 0.3
    assert moving_mask(image, background).nonzero().tolist() == [[1, 1]]


@pytest.mark.parametrize(("factor", "moves"), [(0.95, False), (0.55, False), (0.45, False), (0.3, True)])
def test_a_shadow_is_not_an_object(factor: float, moves: bool) -> None:
    background = torch.tensor([0.6, 0.7, 0.8])
    found = moving_mask((background * factor).expand(2, 3, 3), background)
    assert found.tolist() == [[moves] * 3] * 2


def test_truth_mask_is_the_instance_mask_else_the_opacity(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    frame = dataset.sequences[0].frames[0]
    assert torch.equal(truth_mask(frame), block("left", 0))
    assert describe_moving_part(dataset) == "instance masks"

    rgba = torch.cat([picture("left", 2), 0.6 * block("left", 2)[..., None].float()], dim=-1)
    path = tmp_path / "rgba.png"
    Image.fromarray((rgba * 255).round().to(torch.uint8).numpy()).save(path)
    clear = Frame("slide", camera("left"), "left", 0.2, path, background=(0.0, 1.0, 0.0))
    assert torch.equal(truth_mask(clear), block("left", 2))
    sequence = Sequence("slide", (clear,))
    assert torch.equal(background_picture(clear, sequence), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(moving_mask(clear.image(), background_picture(clear, sequence)), block("left", 2))


def test_a_background_picture_with_opacity_is_composited_as_frames_are(tmp_path: Path) -> None:
    """Where it is clear it holds black, which is not what is seen there."""
    path = tmp_path / "clear.png"
    half = torch.zeros(24, 40, 4, dtype=torch.uint8)
    half[:, :20] = torch.tensor([51, 102, 153, 255], dtype=torch.uint8)
    Image.fromarray(half.numpy()).save(path)
    frame = Frame("slide", camera("left"), "left", 0.2, path, background=(1.0, 1.0, 1.0))
    found = background_picture(frame, Sequence("slide", (frame,), background_paths={"left": path}))
    assert found is not None and (found[:, 20:] == 1).all()
    torch.testing.assert_close(found[:, :20], torch.tensor([0.2, 0.4, 0.6]).expand(24, 20, 3))


def test_without_masks_or_opacity_nothing_is_known(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, masks=False, backgrounds=False)
    frame = dataset.sequences[0].frames[0]
    assert truth_mask(frame) is None
    assert background_picture(frame, dataset.sequences[0]) is None
    assert describe_moving_part(dataset) == "unknown"


def test_flow_mask_covers_what_moved() -> None:
    texture = torch.rand(64, 80, 3, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(texture.permute(2, 0, 1)[None], 5, 1, 2)[0].permute(1, 2, 0)
    before, after = texture.clone(), texture.clone()
    patch = texture.flip(0, 1)[:24, :24]
    before[20:44, 20:44] = patch
    after[20:44, 23:47] = patch
    mask = flow_mask(before, after)
    assert mask.shape == (64, 80)
    assert float(mask[24:40, 27:40].float().mean()) > 0.95  # well inside; the window of the flow blurs its border
    assert not mask[:, 65:].any() and not mask[:, :2].any()
    assert not flow_mask(before, before).any()
