"""Simulate a pendulum and look at what was written: pictures, cameras, masks, and the exact motion behind them.

python examples/01_simulate_and_look.py data/pendulum
"""

import sys
from pathlib import Path

import torch

import foreseen
from foreseen.data import make_splits
from foreseen.simulate import SimulateOptions, simulate


def main(out: Path, options: SimulateOptions) -> None:
    if not out.exists():
        simulate("pendulum", out, options)
    data = foreseen.load_dataset(out)
    print(f"{data.name}: {len(list(data.frames))} frames, times in {data.time_unit}, lengths in {data.length_unit}")

    # Nothing is decoded before it is asked for.
    frame = next(data.frames)
    picture, mask = frame.image(), frame.layer("mask")
    print(f"first frame: camera {frame.camera_id}, t = {frame.time:g}, picture {tuple(picture.shape)}")
    if mask is not None:
        print(f"the pendulum covers {(mask > 0).float().mean():.1%} of it")

    # The exact motion is there to judge forecasts by: where the bob is in the picture, from where it is in the world.
    truth = data.sequences[0].truth
    if truth is not None:
        pixels, _ = frame.camera.project(torch.from_numpy(truth.positions[0]).float())
        print(f"{truth.dynamics} {truth.constants}: the bob is at pixel {pixels[0].round().tolist()}")

    # What training would see, and what is kept back to ask what was learned.
    splits = make_splits(data, observe_until=0.5)
    print(splits.protocol)
    for name, frames in splits.frames.items():
        print(f"{name:>16}: {len(frames)} frames")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/pendulum"), SimulateOptions())
