"""`foreseen render RUN`: a clip along a camera path, at any time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar
from foreseen.errors import UserError


def run(args: list[str]) -> None:
    """Renders as `args` say."""
    call(render, args, prog="foreseen render")


def render(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: Path | None = None,
    path: str = "fixed",
    times: str | None = None,
    sequence: str | None = None,
    initial: str | None = None,
    observe: Literal["truth", "frames"] | None = None,
    context: int = 5,
    channel: Literal["rgb", "depth", "side-by-side"] = "rgb",
    ensemble: bool = False,
    size: str | None = None,
    downscale: int = 1,
    degrees: float = 360.0,
    fps: float = 24.0,
    crf: int = 18,
    checkpoint: int | None = None,
    device: str = "cpu",
) -> None:
    """Render a run along a camera path, at any time: before, inside or after what was observed.

    Args:
        folder: Folder that `foreseen train` wrote.
        out: An .mp4, else a folder of PNGs; default: in the run's folder, renders/PATH-CHANNEL.mp4.
        path: train:CAMERA_ID (its first pose), fixed (the first training camera), follow (its poses), orbit, spiral, or
            a FILE.json that `foreseen view` saved: views with their times.
        times: START:END:COUNT in the data set's unit, such as 0:4:120; START = END stops time; default: the data's.
        sequence: Name of a sequence of the data, learned or new; default: the first that was learned.
        initial: Initial condition of a new sequence, such as "x=0.7,vx=0.1" (x, y, z, vx, vy, vz in the data set's
            units; with several bodies "NAME.x=..."); what is not named follows from the learned motion, or is static.
        observe: What is observed of a new sequence: true pose and velocity at its first time, or its first frames.
        context: Number of first times that are observed as frames.
        channel: Colours, depth, or truth beside the rendering and their difference (train:CAMERA_ID and fixed).
        ensemble: Mark the centres of the moving objects in all sampled trajectories.
        size: WIDTHxHEIGHT of the images [pixels]; default: as the training images.
        downscale: Shrink the images by this whole factor instead.
        degrees: Angle of an orbit; less than 360 goes there and back.
        fps: Frames per second of an mp4.
        crf: Quality of an mp4, from 0 (lossless) to 51; lower is better and larger.
        checkpoint: Step of the checkpoint; default: the last one.
        device: cpu, cuda or auto.
    """
    from rich.console import Console

    from foreseen.evaluation.uncertainty import describe_uncertainty
    from foreseen.export import choose_subject, parse_size, parse_times, plan_clip, write_clip
    from foreseen.runs import load_run

    when = None if times is None else parse_times(times)
    pixels = None if size is None else parse_size(size)
    _check(size, downscale, fps, crf)
    loaded = load_run(folder, checkpoint, device=device)
    beside = channel == "side-by-side"
    subject = choose_subject(loaded, sequence, initial=initial, observe=observe, context=context)
    clip_frames = plan_clip(
        loaded,
        path,
        when,
        subject=subject,
        size=pixels,
        downscale=downscale,
        degrees=degrees,
        fps=fps,
        with_truth=beside,
    )
    target = out or folder / "renders" / f"{_name(path, sequence, initial)}-{channel}.mp4"
    with progress_bar("render") as progress:
        write_clip(
            loaded,
            clip_frames,
            target,
            subject=subject,
            channel=channel,
            ensemble=ensemble,
            fps=fps,
            crf=crf,
            progress=progress,
        )
    console = Console()
    last = max(frame.time for frame in clip_frames)
    if last > subject.observed_until and (
        words := describe_uncertainty(subject.forecast, subject.observed_until, last)
    ):
        console.print(f"until t = {last:.4g} it {words}.", soft_wrap=True)
    console.print(f"wrote {target}", soft_wrap=True)


def _name(path: str, sequence: str | None, initial: str | None) -> str:
    """Name of the file: path and subject, without characters that file systems refuse."""
    parts = [Path(path).stem if path.lower().endswith(".json") else path, *filter(None, (sequence, initial))]
    return "-".join(re.sub(r"[^\w.+=]+", "-", part) for part in parts)


def _check(size: str | None, downscale: int, fps: float, crf: int) -> None:
    if size is not None and downscale != 1:
        raise UserError("--size and --downscale say the same thing: give one of them.")
    if downscale < 1:
        raise UserError(f"--downscale {downscale}: give a whole number, 1 or more.")
    if not 0 < fps <= 240:
        raise UserError(f"--fps {fps}: give a number above 0, up to 240.")
    if not 0 <= crf <= 51:
        raise UserError(f"--crf {crf}: give a whole number from 0 to 51.")
