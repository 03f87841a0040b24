"""What is installed is pinned, hashed and licensed; and no command calls the network unasked."""

import os
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

PINNED = re.compile(r"^([\w.-]+)==([\w.+]+)(?: ; .*)? \\$", re.MULTILINE)


def entries(name: str) -> dict[str, str]:
    """package -> version of a lock file."""
    return {normal(package): version for package, version in PINNED.findall((ROOT / name).read_text())}


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_every_line_of_a_lock_is_a_version_or_its_hashes(name):
    text = (ROOT / name).read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    hashes = [line for line in lines if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)]
    assert len(lines) == len(hashes) + len(entries(name)) and len(entries(name)) > 70
    for block in re.split(r"\n(?=\S)", text):
        assert "==" not in block or "--hash=sha256:" in block, block[:80]


def test_the_locks_have_what_is_required():
    run, test = entries("requirements.lock"), entries("requirements-test.lock")
    wanted = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert len(wanted) > 20 and {normal(n): v for n, v in wanted}.items() <= run.items() <= test.items()
    others = [
        x for x in metadata.requires("ccli") + metadata.requires("ccli-toolbox") if "ray" not in x.partition(";")[0]
    ]
    for needed in others:
        name = normal(re.match(r"[\w.-]+", needed)[0])
        assert name in (test if "extra ==" in needed else run), f"{needed}: run scripts/lock.sh"
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|-e \.\S*|[\w.-]+==[\w.]+|", line), f"not pinned: {line}"


def test_what_is_installed_here_is_what_is_locked():
    if not (ROOT / ".venv").is_dir() or not sys.prefix.startswith(str(ROOT)):
        pytest.skip("this is not the environment of scripts/install.sh")
    for name, version in entries("requirements-test.lock").items():
        assert metadata.version(name) == version, f"{name}: run scripts/install.sh test"


def test_licences_are_listed():
    listed = re.findall(r"^\| ([\w.-]+) \| (\S+) \| (.+?) \| (run|tests) \|$", table(), re.MULTILINE)
    assert {normal(name): version for name, version, *_ in listed} == entries("requirements-test.lock")
    assert all(licence.strip() for _, _, licence, _ in listed)


def test_the_list_of_licences_is_what_packages_say():
    done = subprocess.run([sys.executable, ROOT / "scripts/licences.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def table() -> str:
    return (ROOT / "LICENSES-THIRD-PARTY.md").read_text()


NO_NETWORK = """
import os, socket, sys

def refuse(*args, **kwargs):
    with open(os.environ["CALLS"], "a") as file:
        file.write(f"{os.path.basename(sys.argv[0])}: {args[-1:]}\\n")
    raise OSError("the network is out of bounds here")

def made(self, family=socket.AF_INET, *args, **kwargs):
    if family in (socket.AF_INET, socket.AF_INET6):
        refuse(family)
    make(self, family, *args, **kwargs)

make, socket.socket.__init__ = socket.socket.__init__, made
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""
COMMANDS = """
import runpy, sys
for line in sys.stdin:
    sys.argv = line.rstrip("\\n").split("\\t")
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(f"{sys.argv[0]} ended with {end.code}")
"""


def test_no_command_calls_the_network(tmp_path):
    """Trained, swept, predicted, explained, exported and reported, with every internet socket refused."""
    random = np.random.default_rng(0)
    for part, count in (("train", 2), ("test", 3)):
        for name in ("red", "blue"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for k in range(count):
                picture = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                picture[..., 0 if name == "red" else 2] = 255
                Image.fromarray(picture).save(tmp_path / "pictures" / part / name / f"{k}.png")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NO_NETWORK)
    pictures, run, runs, test = (tmp_path / x for x in ("pictures", "run", "runs", "pictures/test/red/0.png"))
    folder = ["--dataset-config-file", ROOT / "configs/datasets/folder.yaml", "DATASET.FOLDER", pictures]
    trainer = ["--trainer", "CCLI", "--config-file", ROOT / "configs/trainers/CCLI/demo_clip.yaml", "--seed", 1]
    commands = [
        ["train.py", *trainer, "--output-dir", run, *folder, "DATASET.NUM_SHOTS", 2],
        ["train.py", *trainer, "--output-dir", tmp_path / "e", "--eval-only", "--model-dir", run, *folder],
        ["sweep.py", "--datasets", pictures, "--trainers", "ZeroshotCLIP", "CoOp", "--shots", 1, "--seeds", 1,
         "--cfg", "demo_clip", "--output", runs, "OPTIM.MAX_EPOCH", 1],
        ["predict.py", "--model-dir", run, test, "--explain"],
        ["report.py", runs, "--to", tmp_path / "page.html", "--figures", tmp_path / "figures"],
        ["report.py", "--concepts", run, "--to", tmp_path / "concepts.html"],
        ["parse_test_res.py", "--table", runs],
    ]  # fmt: skip
    text = "".join("\t".join([str(ROOT / name), *map(str, rest)]) + "\n" for name, *rest in commands)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"), "CALLS": str(tmp_path / "calls"), "CCLI_STORE": str(tmp_path / "store"),
        "HF_HOME": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], input=text, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    calls = tmp_path / "calls"
    assert not calls.exists(), calls.read_text()
    assert (runs / "pictures").is_dir() and (tmp_path / "concepts.html").exists()
    blocked = subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket()"], capture_output=True, env=environment
    )
    assert blocked.returncode and calls.exists()  # the block does work
