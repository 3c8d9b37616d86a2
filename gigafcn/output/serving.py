"""How does a viewer in a browser get at a map on this machine?

A read-only web server on the loopback interface hands out the files of one map, whole or in parts
(sharded Zarr is read by ranges), to pages of one origin: neuroglancer's.  Nothing is sent anywhere;
the page fetches what it shows.  It leaves out starting a browser.
"""

from __future__ import annotations

import json
import re
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gigafcn.output.palette import is_background

if TYPE_CHECKING:
    from gigafcn.output.opening import StoredMap

ORIGIN = "https://neuroglancer-demo.appspot.com"
"""Where neuroglancer's page lives."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LOCAL = ("127.0.0.1", "localhost")


def server_of(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a folder's files, on a port of 127.0.0.1; 0 takes any that is free."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))


def neuroglancer_url(stored: StoredMap, address: str) -> str:
    """Address of neuroglancer's page that shows a map which is served at ``address``.

    Parameters
    ----------
    stored
        An open map.
    address
        Such as ``http://127.0.0.1:8000``.
    """
    layers: list[dict[str, Any]] = []
    if stored.scores:
        layers.append({"type": "image", "source": f"zarr3://{address}/", "name": stored.spec.name})
    if stored.labels:
        source = f"zarr3://{address}/labels/classes/"
        shown = {"type": "segmentation", "source": source, "name": "classes"}
        layers.append({**shown, **_classes(stored)})
    state = json.dumps({"layers": layers, "layout": "xy"}, separators=(",", ":"))
    return f"{ORIGIN}/#!{quote(state, safe='!~*()/:,')}"


def _classes(stored: StoredMap) -> dict[str, Any]:
    """Which segments are shown, and how: classes but the background, and nothing that is none.

    Neuroglancer shows no other segment once some are named.  By itself it hides number 0, which
    in maps of gigafcn 0.1 is the first class and also what was not computed; there it stays hidden.
    """
    spec = stored.spec
    painted = [i for i, name in enumerate(spec.classes) if not is_background(name)]
    return {
        "segments": [str(number) for number in painted],
        "segmentColors": {str(number): f"#{spec.colours[number]}" for number in painted},
        "hideSegmentZero": not spec.coded,
        "notSelectedAlpha": 0,
    }


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, also in parts."""

    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """Say what the page may ask for."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD")
        self.send_header("Access-Control-Allow-Headers", "Range")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        """Say how large a file is."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Send a file, or the part that was asked for."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        # Another name for this address means that somebody else's page asks for it.
        if (self.headers.get("Host") or "").split(":")[0] not in _LOCAL:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        start, stop = _part(self.headers.get("Range"), size)
        if start >= stop and size:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        partly = (start, stop) != (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partly else HTTPStatus.OK)
        if partly:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                file.seek(start)
                self.wfile.write(file.read(stop - start))

    def end_headers(self) -> None:
        """Let neuroglancer's page, and no other, read the answer."""
        self.send_header("Access-Control-Allow-Origin", ORIGIN)
        self.send_header("Access-Control-Expose-Headers", "Content-Length, Content-Range")
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a viewer asks for hundreds of files."""


def _part(asked: str | None, size: int) -> tuple[int, int]:
    """First byte and the byte after the last of a range; everything when none is understood.

    Examples
    --------
    >>> _part("bytes=10-19", 100), _part("bytes=-30", 100), _part(None, 100)
    ((10, 20), (70, 100), (0, 100))
    """
    found = _RANGE.fullmatch(asked or "")
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
