"""A server of archives on this machine, and archives in the forms in which data sets are published."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np

from senet_lab.data.download import Archive


class Server(ThreadingHTTPServer):
    """Answers with `content`, of which only the first `sent` bytes arrive, and counts downloads.

    Files by their names, where `files` has them.
    """

    def __init__(self, content: bytes = b"", files: Mapping[str, bytes] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.files = files or {}
        self.sent: int | None = None
        self.downloads = 0
        self.url = f"http://127.0.0.1:{self.server_port}/archive.tar.gz"

    def answer(self, path: str) -> bytes:
        return self.files.get(path.lstrip("/"), self.content)

    def published(self, **changes: str) -> tuple[Archive, ...]:
        """The archive as its data set's class should know it."""
        return (Archive(**({"url": self.url, "sha256": sha256(self.content)} | changes)),)

    def elsewhere(self, archive: Archive) -> Archive:
        """A published archive with this server's address and content."""
        name = archive.url.rpartition("/")[2]
        return Archive(self.url.replace("archive.tar.gz", name), sha256(self.answer(name)), archive.folder)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.answer(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # torchvision first asks where the address redirects to, and marks that request so.
        if self.headers["Method"] != "HEAD":
            self.server.downloads += 1
            self.wfile.write(content[: self.server.sent])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(server: Server) -> Iterator[Server]:
    with server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as members:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            members.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for name, content in files.items():
            members.writestr(name, content)
    return archive.getvalue()


def idx(array: np.ndarray) -> bytes:
    """A uint8 array in MNIST's form, compressed."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())
