"""Video of a run: camera paths, depth, truth beside forecast."""

from foreseen.export.clip import Shot, clip_timeline, write_clip
from foreseen.export.compose import Timeline, compose
from foreseen.export.shots import parse_size, parse_times, plan_shots
from foreseen.export.subject import Subject, choose_subject
from foreseen.export.video import VideoWriter

__all__ = [
    "Shot",
    "Subject",
    "Timeline",
    "VideoWriter",
    "choose_subject",
    "clip_timeline",
    "compose",
    "parse_size",
    "parse_times",
    "plan_shots",
    "write_clip",
]
