import hashlib
import io
import multiprocessing
import pickle
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from senet_lab.data.datasets import SVHN, Cifar10, Cifar100
from senet_lab.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 4, 1]


class Server(ThreadingHTTPServer):
    """Answers with `content`, of which only the first `sent` bytes arrive, and counts downloads."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.sent: int | None = None
        self.downloads = 0
        self.url = f"http://127.0.0.1:{self.server_port}/archive"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        # torchvision first asks where the address redirects to, and marks that request so.
        if self.headers["Method"] != "HEAD":
            self.server.downloads += 1
            self.wfile.write(self.server.content[: self.server.sent])

    def log_message(self, *_: object) -> None:
        pass


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def cifar_archive(label_key: str) -> tuple[bytes, dict[str, object]]:
    """A CIFAR-like archive of 4 training and 4 test images, and what torchvision has to know about it."""
    entry = pickle.dumps({"data": IMAGES.reshape(4, -1), label_key: LABELS})
    meta = pickle.dumps({"names": list("abcdefghij")})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in (("train", entry), ("test", entry), ("meta", meta)):
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue(), {
        "base_folder": "folder",
        "filename": "archive.tar.gz",
        "tgz_md5": md5(archive.getvalue()),
        "train_list": [["train", md5(entry)]],
        "test_list": [["test", md5(entry)]],
        "meta": {"filename": "meta", "key": "names", "md5": md5(meta)},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    content, known = cifar_archive("labels")
    with Server(content) as running, pytest.MonkeyPatch.context() as patch:
        for key, value in (known | {"url": running.url}).items():
            patch.setattr(datasets.CIFAR10, key, value)
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def left_in(folder: Path) -> list[str]:
    """What lies in a folder but the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_first_use_downloads_and_a_second_does_not(tmp_path: Path, server: Server) -> None:
    for _ in range(2):
        data = Cifar10(str(tmp_path / "new")).read()
        assert np.array_equal(data.x_train, IMAGES.transpose(0, 2, 3, 1))
        assert np.array_equal(data.x_test, data.x_train)
        assert data.y_train.tolist() == data.y_test.tolist() == LABELS
        assert data.y_train.dtype == np.int64
    assert server.downloads == 1
    assert left_in(tmp_path / "new") == ["cifar10"]
    assert left_in(tmp_path / "new" / "cifar10") == ["folder"]


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    server.content, known = cifar_archive("fine_labels")
    for key, value in (known | {"url": server.url}).items():
        monkeypatch.setattr(datasets.CIFAR100, key, value)
    assert Cifar100(str(tmp_path)).read().y_test.tolist() == LABELS


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    matlab = io.BytesIO()
    scipy.io.savemat(matlab, {"X": IMAGES.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [2], [9]])})
    server.content = matlab.getvalue()
    known = {part: [server.url, f"{part}.mat", md5(server.content)] for part in ("train", "test")}
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    data = SVHN(str(tmp_path)).read()
    assert np.array_equal(data.x_train, IMAGES.transpose(0, 2, 3, 1))
    assert data.y_test.tolist() == [0, 1, 2, 9]


def spoil(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "page": b"<html><title>404 Not Found</title></html>",
        "empty": b"",
    }[how]


@pytest.mark.parametrize("how", ["truncated", "flipped", "page", "empty"])
def test_a_wrong_archive_is_refused_and_leaves_nothing(tmp_path: Path, server: Server, how: str) -> None:
    right, server.content = server.content, spoil(server.content, how)
    with pytest.raises(UsageError, match=r"downloading them failed .*its MD5 differs") as caught:
        Cifar10(str(tmp_path)).check()
    assert f"dataset=cifar10: the files in {tmp_path}/cifar10 are missing" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []
    server.content = right
    Cifar10(str(tmp_path)).check()


def test_a_connection_that_breaks(tmp_path: Path, server: Server) -> None:
    server.sent = 100
    with pytest.raises(UsageError, match="downloading them failed"):
        Cifar10(str(tmp_path)).check()
    assert left_in(tmp_path) == []


def test_offline(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/archive")
    with pytest.raises(
        UsageError, match=r"missing, and downloading them failed \(.*refused.*\): try again, or"
    ):
        Cifar10(str(tmp_path)).check()


def test_no_download_unless_allowed(tmp_path: Path, server: Server) -> None:
    with pytest.raises(UsageError, match=r"missing, and dataset\.download is false"):
        Cifar10(str(tmp_path), download=False).check()
    assert server.downloads == 0


@pytest.mark.parametrize("how", ["truncated", "flipped", "page", "empty"])
def test_damage_on_disk_is_noticed_and_mended(tmp_path: Path, server: Server, how: str) -> None:
    Cifar10(str(tmp_path)).read()
    file = tmp_path / "cifar10" / "folder" / "train"
    file.write_bytes(spoil(file.read_bytes(), how))
    with pytest.raises(UsageError, match=r"damaged, and dataset\.download is false"):
        Cifar10(str(tmp_path), download=False).read()
    assert Cifar10(str(tmp_path)).read().y_train.tolist() == LABELS
    assert server.downloads == 2


def test_a_killed_download_is_cleared_away(tmp_path: Path, server: Server) -> None:
    partial = tmp_path / ".cifar10.partial"
    partial.mkdir()
    (partial / "archive.tar.gz").write_bytes(server.content[:50])
    (partial / "other").touch()
    Cifar10(str(tmp_path)).read()
    assert left_in(tmp_path) == ["cifar10"]
    assert left_in(tmp_path / "cifar10") == ["folder"]


def test_a_root_that_is_a_file(tmp_path: Path, server: Server) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(UsageError, match=r"root/cifar10"):
        Cifar10(str(tmp_path / "root")).check()


def test_four_first_uses_at_once_download_once(tmp_path: Path, server: Server) -> None:
    context = multiprocessing.get_context("fork")
    start, labels = context.Barrier(4), context.SimpleQueue()

    def use() -> None:
        start.wait()
        labels.put(Cifar10(str(tmp_path)).read().y_train.tolist())

    processes = [context.Process(target=use) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [labels.get() for _ in processes] == [LABELS] * 4
    assert server.downloads == 1
    assert left_in(tmp_path) == ["cifar10"]
