"""Connect to a Dask cluster that somebody else started, and see who works there."""

from __future__ import annotations

import logging
import socket
import ssl
from asyncio import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import Client
from distributed.comm.addressing import get_address_host_port
from distributed.security import Security

from gigafcn.errors import Preempted, RunError, UsageError
from gigafcn.schedule import site as places
from gigafcn.schedule.crew import PACKAGES, Report, asked_of_workers
from gigafcn.schedule.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.schedule.site import Site

log = logging.getLogger(__name__)

CONNECT_S = 30
PROBE_S = 2


@contextmanager
def foreign_client(site: Site) -> Iterator[Client]:
    """The caller's client, or one of our own that is closed afterwards; a worker is there.

    Raises
    ------
    UsageError
        If the address is not safe, or a certificate cannot be used.
    RunError
        If nobody answers, or no worker joins.
    """
    with quiet():
        if site.client is not None:
            _wait_for_workers(site.client)
            yield site.client
            return
        address = places.allowed_address(site)
        with _connected(address, _security(site, address)) as client:
            _wait_for_workers(client)
            if site.dashboard:
                log.info("dashboard: %s", client.dashboard_link)
            yield client


@contextmanager
def watched(client: Client) -> Iterator[None]:
    """Say so if what fails meanwhile fails because the scheduler is gone.

    Raises
    ------
    RunError
        Naming the scheduler and the remedy.
    """
    try:
        yield
    except (Exception, CancelledError) as error:
        if client.status == "running" or isinstance(error, Preempted):
            raise
        address = getattr(client.scheduler, "address", "of the cluster")
        raise RunError(
            f"the Dask scheduler {address} is gone; start it again, and the same command goes on "
            f"from here"
        ) from error


def reports(client: Client, *, gpus: bool) -> list[Report]:
    """What every worker says of itself; with ``gpus`` also whether it has any, which takes torch.

    Raises
    ------
    RunError
        If a worker does not answer.
    """
    answers = client.run(asked_of_workers(PACKAGES, gpus=gpus), on_error="return")
    known = client.scheduler_info(n_workers=-1)["workers"]
    found = []
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            raise RunError(
                f"worker {address} cannot say what it has: {type(answer).__name__}: {answer}"
            ) from answer
        info = known.get(address)
        if info is not None:  # else it has just left
            limit = info["memory_limit"] or 0
            found.append(Report(address, **answer, dask_threads=info["nthreads"], limit=limit))
    if not found:
        raise RunError("all workers left the cluster; start some and run the same command again")
    return found


def _security(site: Site, address: str) -> Security | None:
    """Certificates for TLS, as given or as Dask is configured."""
    if not address.startswith("tls://"):
        return None
    given: dict[str, Any] = {}
    if site.tls_cert is not None:
        given = {
            "tls_ca_file": str(site.tls_ca),
            "tls_client_cert": str(site.tls_cert),
            "tls_client_key": str(site.tls_key or site.tls_cert),
        }
    security = Security(require_encryption=True, **given)
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"the TLS certificates cannot be used: {error}") from error
    if context is None:
        raise UsageError(
            f"scheduler {address} needs certificates: give --tls-ca and --tls-cert (and "
            f"--tls-key), or set distributed.comm.tls in Dask's configuration"
        )
    return security


@contextmanager
def _connected(address: str, security: Security | None) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT_S, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = _refusal(address) or _reason(error)
        raise RunError(f"no Dask scheduler answers at {address}: {reason}") from error
    try:
        yield client
    finally:
        client.close()


def _refusal(address: str) -> str:
    """Why nothing can be reached there; empty if something can.

    Dask tries until its time is over, and may then tell of that alone.
    """
    try:
        with socket.create_connection(get_address_host_port(address), PROBE_S):
            return ""
    except (OSError, ValueError) as error:
        return str(error)


def _reason(error: BaseException) -> str:
    """The innermost cause, which names the socket's or TLS's complaint."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _wait_for_workers(client: Client) -> None:
    if client.scheduler_info(n_workers=-1)["workers"]:
        return
    log.info("waiting for a worker to join the cluster")
    try:
        client.wait_for_workers(1, timeout=places.WAIT_S)
    except TimeoutError as error:
        raise RunError(
            f"no worker joined the cluster within {places.WAIT_S:.0f} s; start some with "
            f"dask worker"
        ) from error
