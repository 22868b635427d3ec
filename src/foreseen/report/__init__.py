"""One page that tells what a run learned and how good that is: self-contained, and harmless whoever wrote the run."""

from foreseen.report.build import write_report

__all__ = ["write_report"]
