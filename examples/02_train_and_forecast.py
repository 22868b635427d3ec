"""Learn a scene from the first half of its time, and look at it later and from elsewhere.

    python examples/01_simulate_and_look.py data/pendulum
    python examples/02_train_and_forecast.py data/pendulum runs/pendulum

Started again, it goes on where it stopped.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import foreseen
from foreseen.export import plan_clip, write_clip


def main(data: Path, out: Path, **budget: Any) -> None:
    run = foreseen.train("rigid-ode", data, out, observe_until=0.5, **budget)

    # Any camera, any time: here one that was filmed, at twice the observed window.
    camera = run.splits().frames["train"][0].camera
    later = 2 * run.splits().observed_until
    picture = run.render(camera, later).rgb
    Image.fromarray((picture.clamp(0, 1) * 255).round().numpy().astype(np.uint8)).save(out / "later.png")

    # A clip: time stands still at the end of the window while the camera sways.
    clip_frames = plan_clip(run, "orbit", [run.splits().observed_until] * 24, degrees=90)
    write_clip(run, clip_frames, out / "bullet-time.mp4")

    # How good it is, beside forecasts that learn nothing. Writes metrics.json and horizon.png into the run too.
    metrics = foreseen.evaluate_run(run, splits=["forecast"], max_frames=20)
    rows = {"rigid-ode": metrics["splits"], **metrics["baselines"]}
    for name, splits in rows.items():
        print(f"{name:>18}: {splits['forecast']['psnr_moving']:.1f} dB inside the moving part")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), max_minutes=3.0)
