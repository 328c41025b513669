"""Many points: which there are, where each is run, and what they say together."""

from hermesdsl.explore.points import Point
from hermesdsl.explore.sweep import Sweep, explore, job_of

__all__ = ["Point", "Sweep", "explore", "job_of"]
