"""A bucket for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.bucket_server import pointed_at, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of an S3 server, to which this process's credentials lead."""
    with s3_server() as url, pointed_at(url):
        yield url
