"""A path in a bucket reads and writes as a path on a disk does, and fails as one."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import pytest

from gigafcn.errors import UsageError
from gigafcn.schedule.lock import Owner, locked
from gigafcn.storage import retrying
from gigafcn.storage.retrying import ATTEMPTS, StoreError, persistently
from gigafcn.storage.url_path import UrlPath, place_of
from tests.storage.bucket_server import SECRET, Faults, failing, pointed_at

pytestmark = pytest.mark.usefixtures("server")


def at(name: str) -> UrlPath:
    """A place in the bucket."""
    place = place_of(f"s3://bucket/{name}")
    assert isinstance(place, UrlPath)
    return place


@pytest.mark.parametrize("text", ["s3://bucket/a/b.zarr", "s3:/bucket/a/b.zarr"])
def test_a_url_keeps_its_form_however_pathlib_wrote_it(text: str) -> None:
    for place in (place_of(text), place_of(Path(text))):
        assert str(place) == "s3://bucket/a/b.zarr"
        assert str(place.with_name("c.png")) == "s3://bucket/a/c.png"
        assert isinstance(place / "0", UrlPath)


def test_file_urls_and_plain_paths_are_of_this_machine() -> None:
    assert place_of("file:///a/b") == Path("/a/b")
    assert place_of("a/b") == Path("a/b")


@pytest.mark.parametrize("text", ["gs://bucket/a", "s3://"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        place_of(text)


def test_objects_are_written_read_listed_and_removed() -> None:
    folder = at("listed")
    (folder / "a").write_bytes(b"one")
    (folder / "b" / "c").write_text("two")
    at("listed-not").write_bytes(b"another")
    assert [path.name for path in folder.iterdir()] == ["a", "b"]
    assert {str(p) for p in folder.rglob("*")} == {"s3://bucket/listed/a", "s3://bucket/listed/b/c"}
    assert (folder / "a").read_range(1, 2) == b"ne"
    assert folder.is_dir()
    assert not folder.is_file()
    (folder / "a").unlink()
    with pytest.raises(FileNotFoundError):
        (folder / "a").read_bytes()
    folder.remove_below()
    assert not folder.exists()
    assert at("listed-not").exists()


def test_an_object_is_created_once() -> None:
    assert at("once").create(b"mine")
    assert not at("once").create(b"yours")
    assert at("once").read_bytes() == b"mine"


def test_an_object_is_read_as_a_file() -> None:
    at("file").write_bytes(bytes(range(256)) * 1000)
    with at("file").open("rb") as file:
        file.seek(255_000)
        assert file.read(4) == bytes((24, 25, 26, 27))
        assert file.seek(0, os.SEEK_END) == 256_000


def test_no_method_of_the_local_disk_takes_it() -> None:
    with pytest.raises(TypeError, match="not on a local disk"):
        shutil.rmtree(at("x"))
    with pytest.raises(OSError, match="not renamed"):
        at("x").replace(at("y"))


def test_a_pickle_holds_the_url_and_no_secret() -> None:
    place = at("pickled")
    assert not place.exists()  # it has asked, so it has a connection
    content = pickle.dumps(place)
    assert SECRET.encode() not in content
    assert pickle.loads(content) == place


def test_a_store_that_fails_now_and_then_is_asked_again(server: str) -> None:
    faults = Faults(0.3, seed=1)
    with failing(server, faults) as url, pointed_at(url):
        for number in range(12):
            at(f"faulty/{number}").write_bytes(bytes([number]))
        assert [at(f"faulty/{n}").read_bytes() for n in range(12)] == [
            bytes([n]) for n in range(12)
        ]
        assert all(at(f"created/{n}").create(bytes([n])) for n in range(6))
    assert sum(faults.injected.values()) >= 5


def test_a_store_that_is_not_there_is_told_in_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gigafcn.storage.url_path.RETRIES", 1)
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    with pointed_at("http://127.0.0.1:9"), pytest.raises(StoreError) as caught:
        at("a").read_bytes()
    assert caught.value.strerror == "the store cannot be reached (connect)"
    assert SECRET not in str(caught.value)


def test_a_lock_in_a_bucket_excludes_a_second_run_and_outlives_no_dead_one() -> None:
    lock = at("m.zarr.run/lock")
    with locked(lock, beat_s=0.1) as held:
        assert held()
        with pytest.raises(UsageError, match="is in use by process"), locked(lock, beat_s=0.1):
            pass
    assert not lock.exists()
    mine = Owner.myself()
    with locked(lock, beat_s=0.1):
        dead = lock.read_text().replace(f'"pid": {mine.pid}', '"pid": 4194999')
    lock.write_text(dead)
    with locked(lock, beat_s=0.1) as held:
        assert held()


def test_what_may_pass_is_tried_again_and_what_may_not_is_raised_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    tries: list[int] = []

    def fails(number: int, times: int) -> int:
        tries.append(number)
        if len(tries) <= times:
            raise OSError(number, "of the disk")
        return 7

    assert persistently(lambda: fails(errno.ESTALE, 2)) == 7
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(OSError, match="of the disk"):
        persistently(lambda: fails(errno.EIO, 100))
    assert len(tries) == ATTEMPTS
    tries.clear()
    with pytest.raises(OSError, match="of the disk"):
        persistently(lambda: fails(errno.ENOSPC, 100))
    assert len(tries) == 1
