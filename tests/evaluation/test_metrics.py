"""Identities, hand-computed values, and parity with torchmetrics."""

import math

import pytest
import torch

from foreseen.evaluation.metrics import centroid, centroid_error, mask_iou, mean_ssim, ms_ssim, psnr, ssim_map


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def ssim(image: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor | None = None) -> float | None:
    return mean_ssim(ssim_map(image, truth), mask)


def square(x: int, y: int, size: int = 4, height: int = 20, width: int = 30) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[y : y + size, x : x + size] = True
    return mask


def test_psnr_by_hand() -> None:
    truth = torch.zeros(4, 5, 3)
    image = torch.full((4, 5, 3), 0.1)
    assert psnr(image, truth) == pytest.approx(20.0, abs=1e-5)
    image[0, 0] = 1.0  # MSE = (19 * 0.01 + 1) / 20
    assert psnr(image, truth) == pytest.approx(-10 * math.log10((19 * 0.01 + 1) / 20), abs=1e-4)


def test_psnr_counts_only_the_mask() -> None:
    truth = torch.zeros(4, 5, 3)
    image = truth.clone()
    image[0, 0] = 0.5
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, :2] = True
    assert psnr(image, truth, mask) == pytest.approx(-10 * math.log10(0.25 / 2), abs=1e-4)
    assert psnr(image, truth, torch.zeros(4, 5, dtype=torch.bool)) is None


def test_psnr_of_equal_images_is_finite() -> None:
    image = picture(8, 9)
    assert psnr(image, image) == pytest.approx(100.0)


def test_ssim_of_equal_images_is_one() -> None:
    image = picture(16, 20)
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-9)
    found = ssim_map(image, image)
    assert found is not None and torch.allclose(found, torch.ones(16, 20, dtype=torch.float64))


def test_ssim_is_symmetric_and_falls_with_noise() -> None:
    a, noise = picture(24, 24), picture(24, 24, 1) - 0.5
    little, much = ssim(a, a + 0.05 * noise), ssim(a, a + 0.5 * noise)
    assert little is not None and much is not None
    assert 1 > little > much
    assert ssim(a + 0.5 * noise, a) == pytest.approx(much, abs=1e-12)


def test_ssim_of_flat_images_by_hand() -> None:
    a, b = torch.full((12, 12, 3), 0.25), torch.full((12, 12, 3), 0.75)
    luminance = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(a, b) == pytest.approx(luminance, abs=1e-9)


def test_ssim_inside_a_mask_sees_only_the_change_there() -> None:
    truth = picture(40, 40)
    image = truth.clone()
    image[:8, :8] = 0.5
    changed, far = square(0, 0, 8, 40, 40), square(30, 30, 8, 40, 40)
    assert ssim(image, truth, far) == pytest.approx(1.0, abs=1e-9)
    inside, whole = ssim(image, truth, changed), ssim(image, truth)
    assert inside is not None and whole is not None and inside < 0.3 < whole


def test_too_small_or_empty_is_absent() -> None:
    assert ssim(picture(10, 40), picture(10, 40)) is None
    assert ssim(picture(20, 20), picture(20, 20), torch.zeros(20, 20, dtype=torch.bool)) is None
    assert ms_ssim(picture(175, 200), picture(175, 200)) is None


def test_ssim_agrees_with_torchmetrics() -> None:
    reference = pytest.importorskip("torchmetrics.functional.image")
    a = picture(40, 52)
    b = (a + 0.3 * (picture(40, 52, 1) - 0.5)).clamp(0, 1)
    planes = [x.permute(2, 0, 1)[None].double() for x in (a, b)]
    _, full = reference.structural_similarity_index_measure(*planes, data_range=1.0, return_full_image=True)
    full = full[0].mean(0)  # mirrored at the border, as ours under a mask
    found = ssim_map(a, b)
    assert found is not None and torch.allclose(found, full, atol=1e-6)
    assert ssim(a, b) == pytest.approx(float(full[5:-5, 5:-5].mean()), abs=1e-6)


def test_ms_ssim_agrees_with_torchmetrics() -> None:
    reference = pytest.importorskip("torchmetrics.functional.image")
    a = torch.nn.functional.interpolate(picture(24, 26).permute(2, 0, 1)[None], size=(180, 190), mode="bicubic").clamp(
        0, 1
    )
    b = (a + 0.2 * (picture(180, 190, 1).permute(2, 0, 1)[None] - 0.5)).clamp(0, 1)
    expected = reference.multiscale_structural_similarity_index_measure(a.double(), b.double(), data_range=1.0)
    images = [x[0].permute(1, 2, 0) for x in (a, b)]
    assert ms_ssim(*images) == pytest.approx(float(expected), abs=2e-3)
    assert ms_ssim(images[0], images[0]) == pytest.approx(1.0, abs=1e-9)


def test_iou_of_a_shifted_square() -> None:
    a = square(3, 3)
    assert mask_iou(a, a) == 1.0
    assert mask_iou(square(5, 3), a) == pytest.approx(8 / 24)
    assert mask_iou(square(20, 3), a) == 0.0


def test_iou_with_nothing() -> None:
    nothing = torch.zeros(20, 30, dtype=torch.bool)
    assert mask_iou(nothing, nothing) is None
    assert mask_iou(nothing, square(3, 3)) == 0.0
    assert mask_iou(square(3, 3), nothing) == 0.0


def test_centroid_of_a_square_is_its_middle() -> None:
    assert centroid(square(3, 6)) == (5.0, 8.0)
    assert centroid_error(square(6, 10), square(3, 6)) == pytest.approx(5.0)
    assert centroid_error(torch.zeros(20, 30, dtype=torch.bool), square(3, 6)) is None
