"""The table of data sets that can be downloaded: sources.yaml."""

from pathlib import Path

import msgspec

from ccli.datasets.downloads.steps import Source

SOURCES = msgspec.yaml.decode(Path(__file__).with_name("sources.yaml").read_bytes(), type=dict[str, Source])
