"""An S3 server on loopback, in this process, and a proxy that makes it fail now and then."""

from __future__ import annotations

import http.client
import logging
import os
import random
import socket
import struct
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from gigafcn.storage import url_path

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "secret-canary-9f2c"
BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request).close()
        yield url
    finally:
        server.stop()


@contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """The environment of processes whose credentials lead to a server."""
    given = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ENDPOINT_URL": url,
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    url_path._bucket.cache_clear()
    try:
        yield
    finally:
        url_path._bucket.cache_clear()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


class Faults:
    """Which requests fail: a share of them, by chance but the same each time."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.injected: dict[str, int] = {}
        self.served = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def next(self) -> str | None:
        """What befalls the next request."""
        with self._lock:
            self.served += 1
            if self._random.random() >= self.share:
                return None
            kind = self._random.choice(("500", "503", "reset", "reset after"))
            self.injected[kind] = self.injected.get(kind, 0) + 1
            return kind


class _Proxy(ThreadingHTTPServer):
    """Listens on loopback and passes requests on, but for those that fail."""

    daemon_threads = True

    def __init__(self, url: str, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults = urlsplit(url), faults

    def handle_error(self, *_: Any) -> None:
        """Clients that give up are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.server.faults.next()
        if kind == "reset":
            self._reset()
        elif kind in ("500", "503"):
            self._answer(int(kind), {}, b"<Error><Code>SlowDown</Code></Error>")
        else:
            answer = self._asked(body)
            if kind == "reset after":
                self._reset()
            else:
                self._answer(*answer)

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = self.server.upstream
        assert upstream.hostname is not None
        there = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=60)
        there.request(self.command, self.path, body, dict(self.headers.items()))
        answer = there.getresponse()
        content = answer.read()
        there.close()
        return answer.status, dict(answer.getheaders()), content

    def _reset(self) -> None:
        """Break the connection, as a server that dies does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        given = {name.lower(): value for name, value in headers.items()}
        if self.command != "HEAD":
            given["content-length"] = str(len(content))
        for name, value in given.items():
            if name not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def failing(url: str, faults: Faults) -> Iterator[str]:
    """The URL of a proxy before a server, which answers some requests with errors or not at all."""
    with _Proxy(url, faults) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}"
        finally:
            proxy.shutdown()
            thread.join()
