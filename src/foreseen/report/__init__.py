"""One HTML page on what runs learned and how good they are: self-contained, and harmless whoever wrote the runs."""

from foreseen.report.build import write_report

__all__ = ["write_report"]
