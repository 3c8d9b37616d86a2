"""Where was a run told to compute, and may it be reached that way?

In this process, in local processes, or with the workers of a Dask scheduler that somebody else
started.  Whoever reaches a Dask scheduler over plain tcp can run code on all of its workers, and
on this machine, so another host is spoken to over TLS, or the user insists.
"""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import RunError, UsageError

if TYPE_CHECKING:
    from distributed import Client

FILE_POLL_S = 0.2
LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
WAIT_S = 600.0
"""For a scheduler file to appear and a first worker to join: batch systems start them later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where tiles are to be computed, as asked for; by default in this process."""

    workers: int | None = None
    """Local processes to start."""

    scheduler: str | None = None
    """Address of a Dask scheduler."""

    scheduler_file: str | Path | None = None
    """File in which a Dask scheduler wrote its address."""

    client: Client | None = None
    """Of a cluster that the caller has."""

    insecure: bool = False
    """Speak plain tcp to another host."""

    tls_ca: str | Path | None = None
    """PEM file of the authority that signed the cluster's certificates."""

    tls_cert: str | Path | None = None
    """PEM file of this process's own certificate."""

    tls_key: str | Path | None = None
    """PEM file of that certificate's key; None if it is in the same file."""

    dashboard: bool = False
    """Show Dask's dashboard of a cluster that is started here, on this machine only."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")
        places = ("workers", "scheduler", "scheduler_file", "client")
        given = [name.replace("_", "-") for name in places if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} name different places to compute; give one")
        if self.client is not None and self.client.asynchronous:
            raise UsageError("client is asynchronous; give one made with asynchronous=False")
        if (self.tls_ca is None) != (self.tls_cert is None):
            given_name, other = ("tls-ca", "tls-cert") if self.tls_ca else ("tls-cert", "tls-ca")
            raise UsageError(f"{given_name} needs {other} too: both sides show a certificate")
        for name in ("tls_ca", "tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise UsageError(f"{name.replace('_', '-')} {path}: no such file")

    @property
    def is_foreign(self) -> bool:
        """Whether the workers were started by somebody else."""
        return not (self.scheduler is None and self.scheduler_file is None and self.client is None)


def allowed_address(site: Site) -> str:
    """The scheduler's address, with its protocol, once it is safe to speak to it.

    Raises
    ------
    UsageError
        If it is plain tcp to another host, or certificates were given for no use.
    RunError
        If the scheduler's file does not appear.
    """
    address = site.scheduler or _written_address(Path(str(site.scheduler_file)))
    if "://" not in address:
        address = f"{'tcp' if site.tls_cert is None else 'tls'}://{address}"
    protocol = address.partition("://")[0]
    if protocol == "tls":
        return address
    if site.tls_cert is not None:
        raise UsageError(
            f"scheduler {address} does not use the certificate given; write tls:// and start "
            f"the scheduler with its own"
        )
    if protocol != "inproc" and not is_loopback(address) and not site.insecure:
        raise UsageError(
            f"scheduler {address} is on another host and not encrypted: whoever reaches it can "
            f"run code on all of its workers; use tls:// with --tls-ca and --tls-cert, or insist "
            f"with --insecure"
        )
    return address


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only.

    Examples
    --------
    >>> is_loopback("tcp://127.0.0.1:8786"), is_loopback("tcp://[::1]:8786")
    (True, True)
    >>> is_loopback("tcp://10.0.0.7:8786"), is_loopback("tcp://localhost.example.org:1")
    (False, False)
    """
    place = address.partition("://")[2].split("/")[0]
    host = place[1:].partition("]")[0] if place.startswith("[") else place.rpartition(":")[0]
    host = host or place
    if host in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _written_address(path: Path) -> str:
    """Address in a scheduler's file, once it is there."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            address = json.loads(path.read_text("utf-8"))["address"]
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise UsageError(
                    f"scheduler-file {path}: no such directory {path.parent}"
                ) from None
        except ValueError:
            pass  # it is being written
        except (KeyError, TypeError, OSError) as error:
            raise UsageError(
                f"scheduler-file {path} is none that a Dask scheduler wrote "
                f"({type(error).__name__}: {error})"
            ) from error
        else:
            return str(address)
        if time.monotonic() > deadline:
            raise RunError(
                f"no scheduler wrote its address to {path} within {WAIT_S:.0f} s; start it with "
                f"dask scheduler --scheduler-file {path}"
            )
        time.sleep(FILE_POLL_S)
