import io
import multiprocessing
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from downloads import Server, md5, running, sha256, tar
from torchvision import datasets

from senet_lab.data.datasets import SVHN, Cifar10, Cifar100
from senet_lab.data.download import LISTING
from senet_lab.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 4, 1]


def cifar_archive(label_key: str) -> tuple[bytes, dict[str, object]]:
    """A CIFAR-like archive of 4 training and 4 test images, and what torchvision has to know about it."""
    entry = pickle.dumps({"data": IMAGES.reshape(4, -1), label_key: LABELS})
    meta = pickle.dumps({"names": list("abcdefghij")})
    archive = tar({"folder/train": entry, "folder/test": entry, "folder/meta": meta})
    return archive, {
        "base_folder": "folder",
        "filename": "archive.tar.gz",
        "tgz_md5": md5(archive),
        "train_list": [["train", md5(entry)]],
        "test_list": [["test", md5(entry)]],
        "meta": {"filename": "meta", "key": "names", "md5": md5(meta)},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    content, known = cifar_archive("labels")
    with running(Server(content)) as serving, pytest.MonkeyPatch.context() as patch:
        for key, value in known.items():
            patch.setattr(datasets.CIFAR10, key, value)
        patch.setattr(Cifar10, "archives", serving.published())
        yield serving


def left_in(folder: Path) -> list[str]:
    """What lies in a folder but the lock and the listing."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith((".lock", ".sha256")))


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
    for key, value in known.items():
        monkeypatch.setattr(datasets.CIFAR100, key, value)
    monkeypatch.setattr(Cifar100, "archives", server.published())
    assert Cifar100(str(tmp_path)).read().y_test.tolist() == LABELS


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    matlab = io.BytesIO()
    scipy.io.savemat(matlab, {"X": IMAGES.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [2], [9]])})
    server.content = matlab.getvalue()
    known = {part: [server.url, f"{part}.mat", md5(server.content)] for part in ("train", "test")}
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    files = [server.published(url=server.url.replace("archive.tar.gz", f"{part}.mat"))[0] for part in known]
    monkeypatch.setattr(SVHN, "archives", tuple(files))
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
    with pytest.raises(UsageError, match=r"downloading them failed .*its SHA-256 differs") as caught:
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
    monkeypatch.setattr(Cifar10, "archives", server.published(url="http://127.0.0.1:1/archive.tar.gz"))
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


@pytest.mark.parametrize("after", ["mkdir", "listing", "half the archive"])
def test_a_killed_download_is_cleared_away(tmp_path: Path, server: Server, after: str) -> None:
    partial = tmp_path / ".cifar10.partial"
    partial.mkdir()
    if after != "mkdir":
        (partial / LISTING).touch()
    if after == "half the archive":
        (partial / "archive.tar.gz").write_bytes(server.content[:50])
    Cifar10(str(tmp_path)).read()
    assert left_in(tmp_path) == ["cifar10"]
    assert left_in(tmp_path / "cifar10") == ["folder"]


@pytest.mark.parametrize("name", ["cifar10", ".cifar10.partial"])
def test_a_folder_of_somebody_else_is_never_touched(tmp_path: Path, server: Server, name: str) -> None:
    mine = tmp_path / name / "results" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises(UsageError) as caught:
        Cifar10(str(tmp_path)).check()
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert mine.read_text() == "years of work"
    assert left_in(tmp_path) == [name]


def test_a_file_added_to_a_download_is_never_lost(tmp_path: Path, server: Server) -> None:
    Cifar10(str(tmp_path)).read()
    mine = tmp_path / "cifar10" / "notes.txt"
    mine.write_text("years of work")
    (tmp_path / "cifar10" / "folder" / "train").write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"no download put .*notes\.txt there: move it away"):
        Cifar10(str(tmp_path)).read()
    assert mine.read_text() == "years of work"
    mine.rename(tmp_path / "notes.txt")
    assert Cifar10(str(tmp_path)).read().y_train.tolist() == LABELS


def test_a_link_in_place_of_the_folder_is_left_alone(tmp_path: Path, server: Server) -> None:
    mine = tmp_path / "elsewhere"
    mine.mkdir()
    (tmp_path / "cifar10").symlink_to(mine)
    with pytest.raises(UsageError, match=r"no download put .*cifar10 there: move it away"):
        Cifar10(str(tmp_path)).check()
    assert (tmp_path / "cifar10").is_symlink()


def test_data_that_somebody_else_put_there_are_read(tmp_path: Path, server: Server) -> None:
    Cifar10(str(tmp_path)).read()
    (tmp_path / "cifar10" / LISTING).unlink()
    (tmp_path / "cifar10" / "notes.txt").touch()
    assert Cifar10(str(tmp_path), download=False).read().y_train.tolist() == LABELS


def test_a_right_md5_alone_does_not_do(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cifar10, "archives", server.published(sha256=sha256(b"another")))
    with pytest.raises(UsageError, match=r"archive\.tar\.gz is not the published file: its SHA-256 differs"):
        Cifar10(str(tmp_path)).check()
    assert left_in(tmp_path) == []


def member(kind: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(
        {"absolute": "/tmp/senet-lab-trap", "parent": "folder/../../trap"}.get(kind, "trap")
    )
    if kind in ("symlink", "hardlink"):
        info.type = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
        info.linkname = "../../somewhere"
        return info, b""
    info.size = 4
    return info, b"trap"


@pytest.mark.parametrize("kind", ["absolute", "parent", "symlink", "hardlink"])
def test_an_archive_does_not_leave_its_folder(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archive = io.BytesIO(server.content)
    with (
        tarfile.open(fileobj=archive) as old,
        tarfile.open(fileobj=(new := io.BytesIO()), mode="w:gz") as spoilt,
    ):
        for info in old:
            spoilt.addfile(info, old.extractfile(info))
        info, content = member(kind)
        spoilt.addfile(info, io.BytesIO(content))
    server.content = new.getvalue()
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(server.content))
    monkeypatch.setattr(Cifar10, "archives", server.published())
    root = tmp_path / "root"
    with pytest.raises(UsageError, match=r"trap in archive\.tar\.gz leads out of its folder"):
        Cifar10(str(root)).check()
    assert left_in(root) == []
    assert left_in(tmp_path) == ["root"]


def test_a_root_that_is_no_folder_name() -> None:
    with pytest.raises(UsageError, match=r"dataset\.root=None: give a folder for the data set cifar10"):
        Cifar10(None).check()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"~nobody-of-this-name/cifar10 are missing"):
        Cifar10("~nobody-of-this-name", download=False).check()


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
