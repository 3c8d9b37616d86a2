"""``gigafcn check`` lists what is damaged, ends with code 5, and repairs from where things were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.refusals import MODEL
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


def test_a_damaged_map_is_listed_refused_and_repaired(folder: Path) -> None:
    words = ("infer", "slide.tif", *MODEL, "--tile", "256", "-o", "maps")
    assert gigafcn(*words, cwd=folder).code == 0
    sound = gigafcn("check", "maps/slide.zarr", cwd=folder)
    assert (sound.code, sound.err) == (0, "")
    assert "objects of maps/slide.zarr are as they were written" in sound.out
    shard = folder / "maps/slide.zarr/0/c/0/0/0"
    before = shard.read_bytes()
    shard.write_bytes(before[:-1])
    bad = gigafcn("check", "maps/slide.zarr", cwd=folder)
    assert bad.code == 5
    assert "differs: 0/c/0/0/0" in bad.out
    assert "1 differ, 0 are missing; gigafcn check maps/slide.zarr --repair" in bad.error
    told = gigafcn("check", "maps/slide.zarr", "--json", cwd=folder)
    assert told.code == 5
    assert json.loads(told.out)["differing"] == ["0/c/0/0/0"]
    # The model of these tests is Python code; where it is was noted, trust was not.
    refused = gigafcn("check", "maps/slide.zarr", "--repair", cwd=folder)
    assert refused.code == 4
    again = gigafcn("check", "maps/slide.zarr", "--repair", "--trust", cwd=folder)
    assert again.code == 0
    assert "computed again" in again.out
    assert shard.read_bytes() == before
