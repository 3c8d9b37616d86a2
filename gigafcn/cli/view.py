"""``gigafcn view``: a finished map in neuroglancer, in the browser of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gigafcn.cli.reporting import say
from gigafcn.cli.requests import Debug
from gigafcn.errors import UsageError


def view(
    out: Path,
    /,
    *,
    port: Annotated[int, Parameter(metavar="PORT", show_default=False)] = 0,
    debug: Debug = False,
) -> None:
    """Show a map in neuroglancer: prints a link, and serves the map's files to it until Ctrl-C.

    The files are served on this machine only (127.0.0.1) and only to neuroglancer's page, which
    comes from the internet and fetches them here; the map is sent nowhere.

    Parameters
    ----------
    out
        A finished map.
    port
        Port to serve on; if unset, any that is free.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.output.opening import open_map  # loads zarr
    from gigafcn.output.serving import neuroglancer_url, server_of

    stored = open_map(out)
    try:
        server = server_of(stored.path, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot serve on port {port}: {reason}; take another --port") from error
    address = f"http://127.0.0.1:{server.server_address[1]}"
    say(neuroglancer_url(stored, address))
    say(f"serving {stored.path} at {address} until Ctrl-C")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
