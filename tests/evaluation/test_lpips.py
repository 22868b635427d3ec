"""LPIPS with random weights: distances of the right kind, and files that are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foreseen.errors import UserError
from foreseen.evaluation.lpips import ALEXNET, NETWORKS, TAPS, load_lpips


def random_weights(network: str = "alex", seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for index, layer in NETWORKS[network].items():
        if len(layer) == 5:
            fan = layer[0] * layer[2] ** 2
            shape = (layer[1], layer[0], layer[2], layer[2])
            state[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
            state[f"features.{index}.bias"] = 0.1 * torch.randn(layer[1], generator=generator)
    for head, tap in enumerate(TAPS[network]):
        state[f"lin{head}.model.1.weight"] = torch.rand((1, NETWORKS[network][tap][1], 1, 1), generator=generator)
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alex.pt"
    torch.save(random_weights(), path)
    return path


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.rand(40, 48, 3, generator=torch.Generator().manual_seed(1))
    b = a.clone()
    b[:20, :24] = 0.5
    return a, b


def test_matches_a_network_written_out(weights: Path, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    state = random_weights()
    alexnet = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    alexnet.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected, features = 0.0, [((2 * x - 1 - shift) / scale).permute(2, 0, 1)[None] for x in images]
    with torch.no_grad():
        for index, layer in enumerate(alexnet):
            features = [layer(x) for x in features]
            if index in (1, 4, 7, 9, 11):
                a, b = (F.normalize(x, dim=1, eps=1e-10) for x in features)
                head = state[f"lin{(1, 4, 7, 9, 11).index(index)}.model.1.weight"].view(-1, 1, 1)
                expected += float((((a - b) ** 2)[0] * head).sum(0).mean())
    assert load_lpips(weights)(*images) == pytest.approx(expected, rel=1e-4)


def test_is_zero_for_equal_images_and_symmetric(weights: Path, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    lpips, (a, b) = load_lpips(weights), images
    assert lpips(a, a) == 0.0
    distance = lpips(a, b)
    assert distance is not None and distance > 0
    assert lpips(b, a) == pytest.approx(distance, rel=1e-6)


def test_mask_looks_where_the_change_is(weights: Path, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    lpips, (a, b) = load_lpips(weights), images
    changed = torch.zeros(40, 48, dtype=torch.bool)
    changed[:10, :10] = True
    inside, outside = lpips(a, b, changed), lpips(a, b, changed.flip(0, 1))
    assert inside is not None and outside is not None and inside > 2 * outside
    assert lpips(a, b, torch.zeros(40, 48, dtype=torch.bool)) is None
    assert lpips(a[:31], b[:31]) is None


def test_reads_other_names_and_safetensors(tmp_path: Path, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    state = random_weights("vgg")
    renamed = {k.replace("features.", "net.slice1."): v for k, v in state.items()}
    renamed = {k.replace("lin", "lins."): v for k, v in renamed.items()}
    torch.save(state, tmp_path / "vgg.pth")
    save_file(renamed, tmp_path / "vgg.safetensors")
    first, second = load_lpips(tmp_path / "vgg.pth"), load_lpips(tmp_path / "vgg.safetensors")
    assert first.network == "vgg"
    assert first(*images) == second(*images)


def test_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt: no such LPIPS weights file; leave --lpips-weights out"):
        load_lpips(tmp_path / "none.pt")
    (tmp_path / "broken.pt").write_bytes(b"not a file of tensors")
    with pytest.raises(UserError, match=r"broken\.pt: not a readable file of tensors .*; give a \.safetensors"):
        load_lpips(tmp_path / "broken.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(UserError, match=r"list\.pt: holds list, not a state dict"):
        load_lpips(tmp_path / "list.pt")
    torch.save({k: v for k, v in random_weights().items() if "features.6." not in k}, tmp_path / "short.pt")
    with pytest.raises(
        UserError,
        match=r"short\.pt: layer features\.6 of the alex network is missing or not \[384, 192, 3, 3\]",
    ):
        load_lpips(tmp_path / "short.pt")
    torch.save({k: v for k, v in random_weights().items() if not k.startswith("lin4")}, tmp_path / "heads.pt")
    with pytest.raises(UserError, match=r"linear head lin4\.model\.1\.weight is missing or not \[1, 256, 1, 1\]"):
        load_lpips(tmp_path / "heads.pt")


def test_runs_no_code_from_a_file(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match="not a readable file of tensors"):
        load_lpips(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_taps_are_convolutions() -> None:
    assert all(len(ALEXNET[tap]) == 5 for tap in TAPS["alex"])
