"""Exports of a run: clips along camera paths, and its Gaussians as files for other programs."""

from foreseen.export.clip import ClipFrame, clip_timeline, write_clip
from foreseen.export.clip_frames import parse_size, parse_times, plan_clip
from foreseen.export.clip_subject import ClipSubject, choose_subject
from foreseen.export.compose import Timeline, compose
from foreseen.export.splats import SplatSource, export_splats, source_from_file, source_from_run
from foreseen.export.video import VideoWriter

__all__ = [
    "ClipFrame",
    "ClipSubject",
    "SplatSource",
    "Timeline",
    "VideoWriter",
    "choose_subject",
    "clip_timeline",
    "compose",
    "export_splats",
    "parse_size",
    "parse_times",
    "plan_clip",
    "source_from_file",
    "source_from_run",
    "write_clip",
]
