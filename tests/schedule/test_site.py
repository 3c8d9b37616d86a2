"""Where a run may compute: one place, and no plain tcp to another host unless the user insists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gigafcn.errors import RunError, UsageError
from gigafcn.schedule import site as places
from gigafcn.schedule.foreign import foreign_client
from gigafcn.schedule.site import Site, allowed_address

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786",
        "localhost:8786",
        "tcp://[::1]:8786",
        "tls://10.0.0.7:1",
        "inproc://a/1",
    ],
)
def test_this_machine_and_tls_are_allowed(address: str) -> None:
    assert allowed_address(Site(scheduler=address)).endswith(address)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.7:8786", "head:8786", "ws://head:1", "ucx://10.0.0.7:1"]
)
def test_plain_tcp_to_another_host_needs_insistence(address: str) -> None:
    with pytest.raises(UsageError, match=r"can run code on all of its workers.*--insecure"):
        allowed_address(Site(scheduler=address))
    assert allowed_address(Site(scheduler=address, insecure=True)).endswith(address)


def test_the_address_in_a_file_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://10.0.0.7:8786"}))
    with pytest.raises(UsageError, match=r"10\.0\.0\.7"):
        allowed_address(Site(scheduler_file=file))


def test_a_file_that_no_scheduler_wrote_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text("{}")
    with pytest.raises(UsageError, match="none that a Dask scheduler wrote"):
        allowed_address(Site(scheduler_file=file))


def test_a_file_that_does_not_appear_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_S", 0.1)
    with pytest.raises(RunError, match="dask scheduler --scheduler-file"):
        allowed_address(Site(scheduler_file=tmp_path / "scheduler.json"))


def test_two_places_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers and scheduler name different places"):
        Site(workers=2, scheduler="tcp://127.0.0.1:1")


def test_a_certificate_needs_its_authority_and_tls(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("x")
    with pytest.raises(UsageError, match="tls-cert needs tls-ca too"):
        Site(tls_cert=pem)
    with pytest.raises(UsageError, match="no such file"):
        Site(tls_ca=tmp_path / "b.pem", tls_cert=pem)
    with pytest.raises(UsageError, match="write tls://"):
        allowed_address(Site(scheduler="tcp://127.0.0.1:1", tls_ca=pem, tls_cert=pem))
    assert allowed_address(Site(scheduler="h:1", tls_ca=pem, tls_cert=pem)) == "tls://h:1"


def test_what_is_no_certificate_is_told_before_connecting(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("x")
    site = Site(scheduler="tls://127.0.0.1:1", tls_ca=pem, tls_cert=pem)
    with pytest.raises(UsageError, match="certificates cannot be used"), foreign_client(site):
        pass


def test_tls_without_any_certificate_is_refused_with_the_remedy() -> None:
    site = Site(scheduler="tls://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"give --tls-ca and --tls-cert"), foreign_client(site):
        pass


def test_where_nobody_answers_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Also where Dask tells of nothing but its own time: it has none here.
    monkeypatch.setattr("gigafcn.schedule.foreign.CONNECT_S", 0.01)
    site = Site(scheduler="tcp://127.0.0.1:1")
    with pytest.raises(RunError, match=r"no Dask scheduler answers.*refused"), foreign_client(site):
        pass
