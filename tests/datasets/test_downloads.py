"""Downloading one file from a server that breaks, lies, or is not there."""

import errno
import hashlib
import importlib
import inspect
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import ROOT

from ccli.datasets.downloads import fetch as fetch_module
from ccli.datasets.downloads import sources
from ccli.datasets.downloads.fetch import File, fetch
from ccli.datasets.downloads.sources import Archive, Either, ImageNet, Plain
from ccli.errors import CcliError

CONTENT = bytes(range(256)) * 8000  # 2 MB
CHUNK = 512 * 1024  # gdown keeps whole ones
GOOD_SUM = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server:
    """Serves `files`; `cut` closes a connection after so many bytes, as often as the list is long."""

    def __init__(self, files=None):
        self.files, self.cut, self.ranges, self.status = dict(files or {}), [], True, 200
        self.seen, self.sent, self.gate = [], [], None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.answer(handler)

            def log_message(handler, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        name, asked = handler.path.rpartition("/")[2], handler.headers.get("Range")
        self.seen.append((name, asked))
        content = self.files.get(name)
        if self.status != 200 or content is None:
            handler.send_error(self.status if self.status != 200 else 404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        end = start + self.cut.pop(0) if self.cut else len(content)
        self.sent.append(len(content[start:end]))  # before the headers, so that a next request is listed after this one
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        try:
            handler.wfile.write(content[start:end])
            if self.gate and end < len(content):
                self.gate.wait(300)
        except OSError:
            pass
        handler.close_connection = True


@pytest.fixture
def server():
    server = Server({"data.bin": CONTENT})
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(fetch_module, "RETRIES", 0)


def one(server, *more, name="data.bin", sums=(GOOD_SUM,), size=0):
    return File(name, (f"{server.url}/{name}", *more), sums, size)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(one(server), tmp_path / "new/folder")
    assert path.read_bytes() == CONTENT and names(path.parent) == ["data.bin"]
    assert fetch(one(server), tmp_path / "new/folder") == path and len(server.seen) == 1


def test_a_broken_connection_is_taken_up_within_the_call(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "RETRIES", 3)
    server.cut = [1_000_000]
    assert fetch(one(server), tmp_path).read_bytes() == CONTENT
    assert server.seen == [("data.bin", None), ("data.bin", f"bytes={CHUNK}-")]
    assert server.sent == [1_000_000, len(CONTENT) - CHUNK]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [1_200_000]
    with pytest.raises(CcliError, match="the connection broke; the same command resumes"):
        fetch(one(server), tmp_path)
    part = next(tmp_path.glob("data.bin.*.part"))
    assert part.read_bytes() == CONTENT[: 2 * CHUNK]
    server.seen.clear(), server.sent.clear()
    assert fetch(one(server), tmp_path).read_bytes() == CONTENT
    assert server.seen[-1] == ("data.bin", f"bytes={2 * CHUNK}-") and server.sent[-1] == len(CONTENT) - 2 * CHUNK
    assert names(tmp_path) == ["data.bin"]


def test_a_server_that_cannot_resume_is_begun_anew(server, tmp_path, capsys):
    server.cut, server.ranges = [1_200_000], False
    with pytest.raises(CcliError, match="the connection broke"):
        fetch(one(server), tmp_path)
    assert fetch(one(server), tmp_path).read_bytes() == CONTENT
    assert "does not resume; starting again" in capsys.readouterr().err and names(tmp_path) == ["data.bin"]


def test_what_one_address_began_another_does_not_continue(server, tmp_path):
    other = Server({"data.bin": bytes(len(CONTENT))})
    other.cut = [1_000_000]
    file = File("data.bin", (f"{other.url}/data.bin", f"{server.url}/data.bin"))
    assert fetch(file, tmp_path).read_bytes() == CONTENT  # there is no checksum that would notice
    assert names(tmp_path) == ["data.bin"]
    other.http.server_close()


def test_a_wrong_checksum_is_refused_and_removed(server, tmp_path):
    with pytest.raises(CcliError, match=f"expected md5:{'0' * 32}, found {GOOD_SUM}.*By hand") as caught:
        fetch(one(server, sums=(f"md5:{'0' * 32}",)), tmp_path)
    assert str(tmp_path / "data.bin") in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == []


def test_one_of_several_checksums_is_enough(server, tmp_path):
    sums = (f"sha256:{'0' * 64}", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    assert fetch(one(server, sums=sums), tmp_path).is_file()


def test_a_wrong_file_that_was_there_before_is_named_and_stays(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"something else")
    with pytest.raises(
        CcliError, match=r"data\.bin is not the right file .*expected.*found.*move it away and run the same command"
    ):
        fetch(one(server), tmp_path)
    assert names(tmp_path) == ["data.bin"] and not server.seen


PAGE = b"\n <!DOCTYPE html><html><title>Quota exceeded</title></html>"


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz", "data.tar", "data.json", "data.mat", "classnames.txt"])
def test_a_page_in_place_of_a_file_is_refused(server, tmp_path, name):
    server.files[name] = PAGE
    with pytest.raises(CcliError, match="it is a web page") as caught:
        fetch(one(server, name=name, sums=()), tmp_path)
    text = str(caught.value)
    assert f"By hand: download {server.url}/{name} in a browser, put it at {tmp_path / name}, run the same" in text
    assert names(tmp_path) == [] and len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b'{"error": "login"}', "not an archive"),
        ("a.tgz", b"sorry", "not an archive"),
        ("a.json", b"sorry", "not JSON"),
        ("a.mat", b"", "empty"),
    ],
)
def test_another_kind_of_file_is_refused(server, tmp_path, name, content, words):
    server.files[name] = content
    with pytest.raises(CcliError, match=words):
        fetch(one(server, name=name, sums=()), tmp_path)
    assert names(tmp_path) == []


def test_addresses_are_tried_in_order_and_all_failures_are_told(server, tmp_path, capsys):
    urls = (f"{server.url}/absent", "http://127.0.0.1:1/data.bin", f"{server.url}/data.bin")
    assert fetch(File("data.bin", urls, (GOOD_SUM,)), tmp_path).read_bytes() == CONTENT
    told = capsys.readouterr().err
    assert f"{urls[0]}: HTTP 404; trying the next address" in told and f"{urls[1]}: connection refused; try" in told
    with pytest.raises(CcliError, match=r"HTTP 404.*connection refused.*By hand") as caught:
        fetch(File("other.bin", urls[:2]), tmp_path)
    assert len(str(caught.value).splitlines()) == 1 and names(tmp_path) == ["data.bin"]


def test_a_mirror_comes_first_and_has_files_by_their_name(server, tmp_path):
    file = File("data.bin", ("http://127.0.0.1:1/elsewhere",), (GOOD_SUM,))
    assert fetch(file, tmp_path, mirror=f"{server.url}/sets/").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_status(server, tmp_path, status):
    server.status = status
    with pytest.raises(CcliError, match=f"data.bin: HTTP {status}"):
        fetch(one(server), tmp_path)


def test_no_such_host(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CcliError, match=r"http://no-such-host\.invalid/a: no such host, or no network") as caught:
        fetch(File("a", ("http://no-such-host.invalid/a",)), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_google_drives_refusal_is_told_in_words(tmp_path, monkeypatch):
    import gdown

    def refuse(**kwargs):
        raise gdown.exceptions.FileURLRetrievalError("Failed to retrieve file url:\n\n\tToo many users")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(CcliError, match="Google Drive does not give the file now") as caught:
        fetch(File("a.zip", ("https://drive.google.com/uc?id=KEY",)), tmp_path)
    assert "download https://drive.google.com/file/d/KEY/view in a browser" in str(caught.value)


def test_too_small_a_disk_is_told_before_the_download(server, tmp_path):
    with pytest.raises(CcliError, match=r"data\.bin has 1e\+03 TB and .* left; free some"):
        fetch(one(server, size=10**15), tmp_path)
    assert not server.seen


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CcliError, match=r"cannot write to .*choose another --root"):
        fetch(one(server), tmp_path / "file" / "set")


def test_a_disk_that_fills_up_keeps_the_part(server, tmp_path, monkeypatch):
    import gdown

    download = gdown.download

    def fill(progress, **kwargs):
        def full(done, total):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return download(progress=full, **kwargs)

    monkeypatch.setattr(gdown, "download", fill)
    with pytest.raises(CcliError, match=r"no space left in .*free some and run the same command, which resumes"):
        fetch(one(server, "http://127.0.0.1:1/never"), tmp_path)
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].endswith(".part")
    monkeypatch.undo()
    assert fetch(one(server), tmp_path).read_bytes() == CONTENT


def test_a_disk_that_is_really_full(server, tmp_path):
    """On a file system of one MB, where this machine lets us have one; elsewhere under a limit on the size of files."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if mounted.returncode:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, old[1]))
        with pytest.raises(CcliError, match=r"no space left in .*small .*the same command, which resumes"):
            fetch(one(server), small)
        part = next(small.glob("data.bin.*.part"))
        assert CONTENT.startswith(part.read_bytes()) and 500_000 < part.stat().st_size <= 1 << 20
        if mounted.returncode:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        else:
            subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        assert fetch(one(server), small).read_bytes() == CONTENT
        assert server.sent[-1] < len(CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        if not mounted.returncode:
            subprocess.run(["umount", str(small)], check=True)


def test_control_c_keeps_the_part(server, tmp_path):
    server.cut, server.gate = [1_500_000], threading.Event()
    code = (
        "import signal, sys; from pathlib import Path; from ccli.datasets.downloads.fetch import File, fetch\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started with it ignored\n"
        "try: fetch(File('data.bin', (sys.argv[1],)), Path(sys.argv[2]))\n"
        "except KeyboardInterrupt: sys.exit(7)"
    )
    command = [sys.executable, "-c", code, f"{server.url}/data.bin", str(tmp_path)]
    with subprocess.Popen(command) as process:
        while not (any(p.stat().st_size >= CHUNK for p in tmp_path.glob("*.part")) or process.poll() is not None):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 7
    server.gate.set()
    part = next(tmp_path.glob("*.part"))
    assert CONTENT.startswith(part.read_bytes()) and not (tmp_path / "data.bin").exists()
    assert fetch(one(server), tmp_path).read_bytes() == CONTENT and server.seen[-1][1]


def test_gdown_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(CcliError, match=r"gdown is not installed here: run `bash scripts/install.sh`"):
        fetch(File("a", ("http://127.0.0.1:1/a",)), tmp_path)


def all_files() -> dict[str, list[File]]:
    def of(step):
        if isinstance(step, Either):
            return [file for way in step.ways for archive in way for file in of(archive)]
        if isinstance(step, ImageNet):
            return [step.train, step.val, step.devkit]
        assert isinstance(step, Archive | Plain)
        return [step.file]

    return {name: [f for step in source.steps for f in of(step)] for name, source in sources.SOURCES.items()}


TORCHVISION = {
    "imagenet": ("imagenet", 3), "caltech101": ("caltech", 1), "oxford_pets": ("oxford_iiit_pet", 2),
    "oxford_flowers": ("flowers102", 2), "food101": ("food101", 1), "sun397": ("sun397", 1), "dtd": ("dtd", 1),
    "eurosat": ("eurosat", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISION)
def test_checksums_and_names_are_torchvisions(name):
    module, count = TORCHVISION[name]
    source = inspect.getsource(importlib.import_module(f"torchvision.datasets.{module}"))
    files = [file for file in all_files()[name] if file.sums]
    assert len(files) == count
    for file in files:
        kind, _, value = file.sums[0].partition(":")
        assert kind == "md5" and f'"{value}"' in source and file.name in source
        official = [url for url in file.urls if url in source or url.rpartition("/")[0] + "/" in source]
        assert official or not file.urls


def test_aircrafts_address_is_torchvisions():
    import torchvision.datasets.fgvc_aircraft as module

    assert module.FGVCAircraft._URL in all_files()["fgvc_aircraft"][0].urls


def test_the_table_is_well_formed():
    assert len(sources.SOURCES) == 15
    for name, files in all_files().items():
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert all(url.startswith(("https://", "http://")) for url in file.urls)
            for checksum in file.sums:
                kind, _, value = checksum.partition(":")
                assert len(value) == {"md5": 32, "sha256": 64}[kind] and not set(value) - set("0123456789abcdef")
        assert (ROOT / f"configs/datasets/{name}.yaml").is_file()
