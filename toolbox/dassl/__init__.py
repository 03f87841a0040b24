"""A small toolbox with the Dassl interface: trainers, data, evaluation and checkpoints for few-shot CLIP plugins."""

__version__ = "0.1.0"
