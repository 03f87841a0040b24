"""The machine that a report is of."""

import os
import platform
import subprocess

import torch

from ccli.results.records import versions


def machine(miniature: bool) -> dict:
    """The card, the driver and versions."""
    found = {**versions(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}
    if miniature:
        return {"device": "cpu", **found}
    card = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        driver = "unknown"
    memory = f"{card.total_memory / 1e9:.0f} GB"
    return {"device": card.name, "memory": memory, "driver": driver, "cuda": torch.version.cuda, **found}
