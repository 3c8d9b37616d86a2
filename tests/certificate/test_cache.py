"""Certificates are kept per model, and nothing depends on whether they can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torch import nn

import gigafcn
from gigafcn.certificate.cache import cache_folder, read_cached, write_cached
from gigafcn.certificate.certificate import Certificate

if TYPE_CHECKING:
    from pathlib import Path

HOLDS = Certificate(model="net", fingerprint="0", form="short", seconds=1.5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIGAFCN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_written_is_read_and_known_to_be_old() -> None:
    write_cached("key", HOLDS)
    found = read_cached("key")
    assert found == HOLDS.from_cache()
    assert found.cached


def test_what_does_not_hold_is_not_kept() -> None:
    write_cached("key", Certificate("net", "0", "short", failures=("wrong",)))
    assert read_cached("key") is None


def test_what_there_was_no_time_for_is_kept_with_the_rest() -> None:
    write_cached("key", Certificate("net", "0", "short", not_done=("poison along x",)))
    found = read_cached("key")
    assert found is not None
    assert found.not_done == ("poison along x",)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"model": 3'])
def test_a_damaged_file_is_as_good_as_none(text: str, cache: Path) -> None:
    write_cached("key", HOLDS)
    (cache / "certificates" / "key.json").write_text(text)
    assert read_cached("key") is None


def test_a_place_that_takes_nothing_is_as_good_as_none(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    write_cached("key", HOLDS)
    assert read_cached("key") is None


def test_by_default_it_is_where_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIGAFCN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("certificates") == tmp_path / "gigafcn" / "certificates"


def test_verify_itself_always_tries(cache: Path) -> None:
    net = nn.Conv2d(3, 2, 3, padding=1)
    assert not gigafcn.verify(net).cached
    assert not gigafcn.verify(net).cached
    assert not cache.exists()
