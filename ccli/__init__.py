"""Few-shot CLIP in feature space: the library behind the trainers, usable alone."""

__version__ = "0.1.0"
