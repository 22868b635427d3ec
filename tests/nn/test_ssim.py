"""The similarity loss: kernel and definition, torchmetrics, the evaluation's metric, finite differences."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from foreseen.errors import UserError
from foreseen.evaluation.metrics import mean_ssim, ssim_map
from foreseen.nn.ssim import ssim, ssim_reference


def pair(*shape, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(*shape, generator=g)
    image = (truth + 0.3 * torch.randn(*shape, generator=g)).clamp(0, 1)
    return image.to(dtype), truth.to(dtype)


@pytest.mark.parametrize("shape", [(11, 11, 3), (12, 16, 1), (11, 12, 1), (40, 33, 3), (2, 3, 17, 25, 4), (64, 100, 1)])
def test_kernel_and_definition_agree_forward_and_backward(shape):
    image, truth = pair(*shape)
    fast, slow = image.clone().requires_grad_(), image.double().requires_grad_()
    value, expected = ssim(fast, truth), ssim_reference(slow, truth.double())
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=2e-6)
    (value * 0.7).backward()
    (expected * 0.7).backward()
    torch.testing.assert_close(fast.grad.double(), slow.grad, rtol=0, atol=1e-4 * float(slow.grad.abs().max()))


def test_it_is_the_similarity_that_others_compute():
    image, truth = pair(48, 61, 3)
    value = float(ssim(image, truth))
    _, theirs = structural_similarity_index_measure(
        image.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None], sigma=1.5, data_range=1.0, return_full_image=True
    )
    assert value == pytest.approx(float(theirs[..., 5:-5, 5:-5].mean()), abs=1e-5)
    assert value == pytest.approx(mean_ssim(ssim_map(image, truth)), abs=1e-5)
    first = ssim(image.permute(2, 0, 1)[..., None], truth.permute(2, 0, 1)[..., None])
    assert value == pytest.approx(float(first), abs=1e-6)


def test_gradient_is_that_of_finite_differences():
    image, truth = pair(14, 13, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim_reference(x, truth), image.requires_grad_())


def test_equal_images_are_one_and_at_the_top():
    image = torch.full((20, 20, 3), 0.5).requires_grad_()
    value = ssim(image, image.detach())
    assert float(value.detach()) == pytest.approx(1.0, abs=1e-4)
    value.backward()
    assert image.grad.abs().max() < 1e-4


def test_no_gradient_is_asked_for_and_none_is_kept():
    image, truth = pair(20, 20, 3)
    assert not ssim(image, truth).requires_grad
    assert not ssim(image, truth.requires_grad_()).requires_grad


@pytest.mark.parametrize("shapes", [((10, 30, 3), (10, 30, 3)), ((30, 10, 3), (30, 10, 3)), ((30, 30, 3), (30, 31, 3))])
def test_what_has_no_window_is_refused(shapes):
    with pytest.raises(UserError, match=r"SSIM needs two images .* at least 11 pixels"):
        ssim(*(torch.rand(*s) for s in shapes))
