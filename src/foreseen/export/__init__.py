"""What leaves a run: clips along camera paths, and its Gaussians as files for other programs."""

from foreseen.export.clip import Shot, clip_timeline, write_clip
from foreseen.export.compose import Timeline, compose
from foreseen.export.shots import parse_size, parse_times, plan_shots
from foreseen.export.splats import SplatSource, export_splats, source_from_file, source_from_run
from foreseen.export.subject import Subject, choose_subject
from foreseen.export.video import VideoWriter

__all__ = [
    "Shot",
    "SplatSource",
    "Subject",
    "Timeline",
    "VideoWriter",
    "choose_subject",
    "clip_timeline",
    "compose",
    "export_splats",
    "parse_size",
    "parse_times",
    "plan_shots",
    "source_from_file",
    "source_from_run",
    "write_clip",
]
