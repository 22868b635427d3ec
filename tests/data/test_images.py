"""Decoding under a memory budget, shrinking, kinds of pixels, and damaged files."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_files import picture, truncate

from foreseen.data import picture_files
from foreseen.data.images import ImageCache
from foreseen.data.layers import FrameLayer
from foreseen.errors import UserError

W, H = 8, 6


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_a_picture_is_returned_as_stored(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", "RGBA")
    stored = np.asarray(Image.open(path))
    found = ImageCache().image(path, W, H)
    assert found.shape == (H, W, 4) and found.dtype == torch.float32
    assert np.array_equal((found * 255).round().numpy().astype(np.uint8), stored)


def test_changing_what_is_returned_changes_nothing(tmp_path: Path) -> None:
    path, cache = picture(tmp_path / "a.png"), ImageCache()
    path16 = save(tmp_path / "b.png", np.full((H, W), 30000, np.uint16))
    np.savez(tmp_path / "d.npz", depth=np.ones((H, W), np.float32))
    for read in (
        lambda: cache.image(path, W, H),
        lambda: cache.image(path16, W, H),
        lambda: cache.image(path, W // 2, H // 2),
        lambda: cache.layer(FrameLayer(tmp_path / "d.npz", "depth"), W, H),
    ):
        before = read().clone()
        read().zero_()
        assert torch.equal(read(), before) and before.abs().sum() > 0


def test_shrinking_averages_areas(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    full = np.asarray(Image.open(path)).astype(np.float64) / 255
    expected = full.reshape(H // 2, 2, W // 2, 2, 3).mean(axis=(1, 3))
    assert np.allclose(ImageCache().image(path, W // 2, H // 2).numpy(), expected, atol=1e-6)


def test_unseen_colour_does_not_bleed_into_averages(tmp_path: Path) -> None:
    array = np.zeros((2, 2, 4), np.uint8)
    array[0, 0] = (200, 100, 50, 255)
    array[1, 1] = (0, 255, 0, 0)  # invisible green
    found = ImageCache().image(save(tmp_path / "a.png", array), 1, 1)[0, 0]
    assert torch.allclose(found, torch.tensor([200 / 255, 100 / 255, 50 / 255, 0.25]), atol=1e-5)


def test_an_odd_size_shrinks_to_the_size_rounded_down(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", size=(9, 7))
    assert ImageCache().image(path, 4, 3).shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("array", "shape", "value"),
    [
        (np.full((H, W), 51, np.uint8), (H, W, 3), 0.2),
        (np.full((H, W, 2), 51, np.uint8), (H, W, 4), 0.2),
        (np.full((H, W), 13107, np.uint16), (H, W, 3), 0.2),
        (np.full((H, W), True), (H, W, 3), 1.0),
    ],
    ids=["grey", "grey and alpha", "16 bit", "1 bit"],
)
def test_grey_and_16_bit_have_one_meaning(tmp_path: Path, array: np.ndarray, shape: tuple, value: float) -> None:
    found = ImageCache().image(save(tmp_path / "a.png", array), W, H)
    assert found.shape == shape
    assert torch.allclose(found, torch.full(shape, value), atol=1e-6)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (W, H), (255, 0, 0)).convert("P").save(path)
    assert ImageCache().image(path, W, H)[0, 0].tolist() == [1, 0, 0]


def test_pixels_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((H, W), np.float32)).save(path)
    with pytest.raises(UserError) as caught:
        ImageCache().image(path, W, H)
    assert str(caught.value) == f"{path} has pixels of type 'F', not read here: save it as 8 bit RGB or RGBA"


def test_masks_keep_their_ids_when_shrunk(tmp_path: Path) -> None:
    ids = np.zeros((H, W), np.uint16)
    ids[1::2, 1::2] = 300
    path, cache = save(tmp_path / "m.png", ids), ImageCache()
    assert torch.equal(cache.layer(FrameLayer(path, "ids"), W, H), torch.from_numpy(ids.astype(np.int64)))
    assert cache.layer(FrameLayer(path, "ids"), W // 2, H // 2).unique().tolist() == [
        300
    ]  # the pixel under the centre, no average


def test_a_mask_with_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'RGB': a mask of ids has one channel of 8 or 16 bits"):
        ImageCache().layer(FrameLayer(picture(tmp_path / "a.png"), "ids"), W, H)


def test_flow_is_in_pixels_of_the_wanted_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", flow=np.full((H, W, 2), (4.0, 6.0), np.float32))
    layer = FrameLayer(tmp_path / "f.npz", "flow")
    assert ImageCache().layer(layer, W, H)[0, 0].tolist() == [4, 6]
    assert ImageCache().layer(layer, W // 2, H // 2)[0, 0].tolist() == [2, 3]


def test_depth_is_read_from_both_kinds_of_arrays(tmp_path: Path) -> None:
    depth = np.arange(H * W, dtype=np.float64).reshape(H, W)
    np.save(tmp_path / "d.npy", depth)
    np.savez_compressed(tmp_path / "d.npz", depth=depth)
    for name in ("d.npy", "d.npz"):
        found = ImageCache().layer(FrameLayer(tmp_path / name, "depth"), W, H)
        assert found.dtype == torch.float32 and np.array_equal(found.numpy(), depth)


def test_absent_damaged_and_wrong_files_are_named(tmp_path: Path) -> None:
    cache, cut, text, other = ImageCache(), tmp_path / "cut.png", tmp_path / "text.png", tmp_path / "other.png"
    truncate(picture(cut, size=(64, 64)))
    text.write_text("no picture")
    picture(other, size=(7, 6))
    for path, message in (
        (tmp_path / "none.png", "is absent: restore the file or remove its frame"),
        (cut, r"is truncated or damaged \(.+\): replace the file"),
        (text, r"cannot be read as a picture \(not a picture\): replace the file"),
        (other, "is 7 x 6 pixels where 64 x 64 or a multiple is expected"),
    ):
        with pytest.raises(UserError, match=f"^{path} {message}"):
            cache.image(path, 64, 64)
    assert cache.bytes == 0


@pytest.mark.parametrize("content", ["shape", "name", "text", "pickle"])
def test_arrays_that_are_no_depth_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "d.npz"
    if content == "text":
        path.write_text("no archive")
    else:
        value = np.array([{}]) if content == "pickle" else np.zeros((H, W, 3))
        np.savez(path, **{"other" if content == "name" else "depth": value})
    fault = "holds an array of shape" if content == "shape" else r"cannot be read as depth \("
    with pytest.raises(UserError, match=rf"d\.npz {fault}.*: replace the file"):
        ImageCache().layer(FrameLayer(path, "depth"), W, H)


def test_the_least_recently_used_is_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    plain = picture_files.decoded_picture
    monkeypatch.setattr(picture_files, "decoded_picture", lambda path: (decoded.append(path), plain(path))[1])
    size = (512, 512)  # 0.75 MB each
    a, b, c = (picture(tmp_path / f"{n}.png", size=size) for n in "abc")
    cache = ImageCache(budget_mb=2)
    for path in (a, b, a, c, a, b):
        cache.image(path, *size)
    assert decoded == [a, b, c, b]
    assert cache.bytes == 2 * 512 * 512 * 3


def test_a_budget_below_one_picture_keeps_that_picture(tmp_path: Path) -> None:
    cache = ImageCache(budget_mb=0)
    for name in ("a", "b"):
        cache.image(picture(tmp_path / f"{name}.png"), W, H)
    assert cache.bytes == W * H * 3


def test_threads_share_a_cache(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{i}.png", size=(64, 64), seed=i) for i in range(8)]
    alone, cache = [ImageCache().image(p, 64, 64) for p in paths], ImageCache(budget_mb=0)
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for _ in range(5) for i, p in enumerate(paths) if not cache.image(p, 64, 64).equal(alone[i]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and cache.bytes == 64 * 64 * 3


def test_a_worker_process_starts_with_an_empty_cache(tmp_path: Path) -> None:
    cache = ImageCache(7)
    cache.image(picture(tmp_path / "a.png"), W, H)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.budget_mb, copy.bytes) == (7, 0)
