from __future__ import annotations

import hashlib
import http.server
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.data import medmnist
from edgekd.data.medmnist import TABLE, fetch
from edgekd.errors import DataError
from edgekd.progress import Progress, Task

CONTENT = bytes(range(256)) * 1000


class Server:
    """A server on this machine that answers every request in the same way."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.status, self.body, self.claimed = 200, CONTENT, len(CONTENT)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(outer.claimed))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    official = replace(TABLE["breastmnist"], md5=hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setitem(TABLE, "breastmnist", official)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_a_download_is_made_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    path = fetch("breastmnist", folder, server.url)
    assert path == folder / "breastmnist.npz"
    assert path.read_bytes() == CONTENT
    assert fetch("breastmnist", folder, server.url) == path
    assert server.requests == ["/breastmnist.npz?download=1"]


def test_progress_ends_at_the_total(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    class Recorder(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            class Count(Task):
                def advance(self, count: int, **figures: float) -> None:
                    shown.append(count)

            yield Count()
            shown.append(("closed", total, unit))

    monkeypatch.setattr(medmnist, "LineProgress", Recorder)
    fetch("breastmnist", tmp_path, server.url)
    assert shown.pop() == ("closed", len(CONTENT), "bytes")
    assert sum(shown) == len(CONTENT)


def test_a_broken_off_download_is_removed_and_can_be_made_again(server: Server, tmp_path: Path) -> None:
    server.body = CONTENT[:100_000]
    with pytest.raises(
        DataError, match=r'cannot be downloaded \(.*put it at ".*breastmnist.npz", or name it with --data PATH'
    ):
        fetch("breastmnist", tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []
    server.body = CONTENT
    assert fetch("breastmnist", tmp_path, server.url).read_bytes() == CONTENT


def test_other_bytes_are_removed(server: Server, tmp_path: Path) -> None:
    server.body = b"x" * len(CONTENT)
    with pytest.raises(DataError, match="damaged"):
        fetch("breastmnist", tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []


def test_the_status_is_told(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DataError, match=r"HTTPError 503"):
        fetch("breastmnist", tmp_path, server.url)


def test_no_network_says_which_file_to_put_where(server: Server, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DataError) as caught:
            fetch("breastmnist", tmp_path, url)
    message = str(caught.value)
    assert f"download {url}breastmnist.npz elsewhere" in message
    assert f'put it at "{tmp_path / "breastmnist.npz"}"' in message
    assert "\n" not in message


def test_a_file_that_someone_put_there_is_not_lost_when_the_network_is(server: Server, tmp_path: Path) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(b"re-assembled")
    server.status = 404
    with pytest.raises(DataError, match=r"is another file.*give it with --data"):
        fetch("breastmnist", tmp_path, server.url)
    assert (tmp_path / "breastmnist.npz").read_bytes() == b"re-assembled"
    server.status = 200
    assert fetch("breastmnist", tmp_path, server.url).read_bytes() == CONTENT


def test_what_a_killed_download_left_is_removed(server: Server, tmp_path: Path) -> None:
    for name, age in (("tmpold", 7200), ("tmpnew", 0)):
        (tmp_path / name).write_bytes(b"part")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    fetch("breastmnist", tmp_path, server.url)
    assert {path.name for path in tmp_path.iterdir()} == {"breastmnist.npz", "tmpnew"}


def test_a_folder_that_cannot_be_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be kept in"):
        fetch("breastmnist", tmp_path / "file", server.url)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path))
    assert medmnist.cache_folder() == tmp_path / "data"


def test_the_table_is_whole() -> None:
    # Totals of images and numbers of classes: table 2 of Yang et al. 2023 (doi 10.1038/s41597-022-01721-8), but for
    # organ{a,c,s}mnist, whose counts the authors corrected in the record that is downloaded.
    published: dict[str, tuple[int, int]] = {
        "pathmnist": (107_180, 9),
        "chestmnist": (112_120, 14),
        "dermamnist": (10_015, 7),
        "octmnist": (109_309, 4),
        "pneumoniamnist": (5_856, 2),
        "retinamnist": (1_600, 5),
        "breastmnist": (780, 2),
        "bloodmnist": (17_092, 8),
        "tissuemnist": (236_386, 8),
        "organamnist": (58_830, 11),
        "organcmnist": (23_583, 11),
        "organsmnist": (25_211, 11),
    }
    assert {name: (sum(row.counts), len(row.class_names)) for name, row in TABLE.items()} == published
    assert len({row.md5 for row in TABLE.values()}) == 12
    assert all(len(bytes.fromhex(row.md5)) == 16 for row in TABLE.values())
    assert [name for name, row in TABLE.items() if row.licence != "CC BY 4.0"] == ["dermamnist"]


Fetch = Callable[..., Path]


def test_a_name_is_downloaded_through_the_cache_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_npz: Fetch
) -> None:
    from edgekd import data
    from edgekd.config.data import Data

    server.body = make_npz("breastmnist.npz").read_bytes()
    server.claimed = len(server.body)
    monkeypatch.setitem(TABLE, "breastmnist", replace(TABLE["breastmnist"], md5=hashlib.md5(server.body).hexdigest()))
    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(medmnist.fetch, "__defaults__", (server.url,))
    probe = data.probe(Data(name="breastmnist"))
    assert (probe.num_train, probe.median_side, probe.num_classes) == (24, 28, 2)
    assert (tmp_path / "cache" / "data" / "breastmnist.npz").is_file()
