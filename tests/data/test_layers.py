"""Named layers beside a frame's picture: standard ones, those of a reader's own, and their round trip through files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import frame, picture, write_nerfstudio

from foreseen.data import load_dataset
from foreseen.data.layers import FrameLayer, LayerDecoder, register_decoder, standard_layers
from foreseen.data.lens import LensDistortion
from foreseen.data.types import Frame
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

W, H = 8, 6


def one_frame(folder: Path, **layers: FrameLayer) -> Frame:
    camera = Camera(torch.eye(4), 10.0, 10.0, W / 2, H / 2, W, H, 0.1, 5.0)
    return Frame("s", camera, "c", 0.0, picture(folder / "a.png"), layers=layers)


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "mask": rng.integers(0, 300, (H, W)).astype(np.uint16),
        "depth": rng.random((H, W), np.float32),
        "disparity": rng.random((H, W), np.float32),
        "flow_forward": rng.random((H, W, 2), np.float32),
        "flow_backward": rng.random((H, W, 2), np.float32),
        "flow_forward_valid": rng.random((H, W)) > 0.5,
        "flow_backward_valid": rng.random((H, W)) > 0.5,
        "motion_mask": rng.random((H, W)) > 0.5,
        "dino": rng.random((H, W, 5), np.float32),
    }


def test_every_layer_makes_the_round_trip(tmp_path: Path) -> None:
    expected = arrays()
    camera = Camera(torch.eye(4).double(), 10.0, 10.0, W / 2, H / 2, W, H, 0.1, 5.0)
    with DatasetWriter(tmp_path / "out", near=1, far=2, bounds=[[0, 0, 0], [1, 1, 1]]) as writer:
        writer.add_sequence("s")
        for time in (0.0, 1.0):
            image = np.zeros((H, W, 3), np.uint8)
            writer.add_frame("s", WrittenFrame(camera, "c", time, image, layers=expected if time else {}))
    first, second = load_dataset(tmp_path / "out").frames
    assert not first.layers and set(second.layers) == set(expected)
    for name, array in expected.items():
        layer = second.layer(name)
        assert layer is not None and np.array_equal(layer.numpy(), array) and first.layer(name) is None
    dtypes = {name: layer.dtype for name in expected if (layer := second.layer(name)) is not None}
    assert (dtypes["mask"], dtypes["motion_mask"], dtypes["depth"]) == (torch.int64, torch.bool, torch.float32)


def test_flow_shrinks_with_the_picture_and_disparity_does_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", flow=np.full((H, W, 2), (4.0, 6.0), np.float32))
    np.savez(tmp_path / "d.npz", disparity=np.full((H, W), 4.0, np.float32))
    small = one_frame(
        tmp_path, **standard_layers(flow_forward=tmp_path / "f.npz", disparity=tmp_path / "d.npz")
    ).downscale(2)
    flow, disparity = small.layer("flow_forward"), small.layer("disparity")
    assert flow is not None and flow.shape == (3, 4, 2) and flow[0, 0].tolist() == [2, 3]
    assert disparity is not None and disparity.shape == (3, 4) and disparity[0, 0] == 4


def test_a_layer_of_another_size_is_stretched_to_the_picture(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", flow=np.full((3, 4, 2), (1.0, 1.0), np.float32))
    layer = FrameLayer(tmp_path / "f.npz", "flow", size=(4, 3))
    flow = one_frame(tmp_path, flow_forward=layer).layer("flow_forward")
    assert flow is not None and flow.shape == (H, W, 2) and flow[0, 0].tolist() == [2, 2]
    wrong = one_frame(tmp_path, flow_forward=replace(layer, size=(5, 5)))
    with pytest.raises(UserError, match="is 4 x 3 pixels where 5 x 5 is stated: correct one of them"):
        wrong.layer("flow_forward")
    with pytest.raises(UserError, match="is 4 x 3 pixels where 8 x 6 or a multiple is expected"):
        one_frame(tmp_path, flow_forward=replace(layer, size=None)).layer("flow_forward")


def test_a_reader_adds_a_decoder_of_its_own(tmp_path: Path) -> None:
    def load_text(path: Path) -> np.ndarray:
        return np.loadtxt(path, dtype=np.float32)

    decoder = LayerDecoder(load_text, torch.float32)
    register_decoder("test-text", decoder)
    register_decoder("test-text", decoder)  # the same again is no clash
    np.savetxt(tmp_path / "t.txt", np.arange(H * W).reshape(H, W))
    layer = one_frame(tmp_path, heat=FrameLayer(tmp_path / "t.txt", "test-text")).layer("heat")
    assert layer is not None and layer[1, 2] == W + 2
    with pytest.raises(ValueError, match="'test-text' is registered already"):
        register_decoder("test-text", replace(decoder, channels=3))


def test_flow_of_distorted_pictures_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", flow=np.zeros((H, W, 2), np.float32))
    lens = LensDistortion(10.0, 10.0, W / 2, H / 2, W, H, (0.1, 0.0, 0.0, 0.0, 0.0))
    bent = replace(one_frame(tmp_path, **standard_layers(flow_forward=tmp_path / "f.npz")), lens=lens)
    with pytest.raises(UserError, match="flow of distorted pictures is not read: undistort the pictures first"):
        bent.layer("flow_forward")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"depth": {"path": "none.npz", "decoder": "depth"}}, "none.npz is absent: restore the file or remove"),
        ({"depth": {"path": "../x.npz", "decoder": "depth"}}, "lies outside the data set's folder"),
        ({"depth": {"path": "x.npz", "decoder": "dept"}}, "unknown layer decoder 'dept': did you mean 'depth'?"),
        ({"depth": {"path": "x.npz"}}, "layers.depth lacks 'path' or 'decoder': add it"),
        ({"depth": "x.npz"}, "'layers' is no JSON object of objects"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, layers: object, message: str) -> None:
    write_nerfstudio(tmp_path, frames=[frame(i, 4, layers=layers) for i in range(4)])
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)
