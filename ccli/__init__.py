"""Few-shot CLIP in feature space: the library behind the trainers, usable alone.

from ccli import CCLIClassifier, fit, load_run
"""

__version__ = "0.1.0"

_PLACES = {
    "load_run": "inference.saving", "Classifier": "inference.classifier", "fit": "estimator.classifier",
    "CCLIClassifier": "estimator.classifier",
}  # fmt: skip


def __getattr__(name: str):
    """Names of the first line, imported when they are asked for: torch takes a second."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
