"""Canaries: what a slide's file says of a patient is in nothing that gigafcn writes or says.

Every text of the file holds a string of its own, as do its label image and its name.  In what a
run leaves behind only the file's name may be found, and with --deidentify not even that.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gigafcn import export_map
from gigafcn.errors import UsageError
from gigafcn.pseudonym import Disguise, pseudonym, read_key
from tests.commands import Ended
from tests.commands import gigafcn as command

if TYPE_CHECKING:
    from pathlib import Path

NAME = "canaryNAME-Smith-1960"
KEY = "0123456789abcdef0123456789abcdef"
CALLED = pseudonym(f"{NAME}.svs", KEY.encode())
SHAPE = (300, 420)
TAGS = {
    269: "DocumentName", 270: "ImageDescription", 271: "Make", 272: "Model", 285: "PageName",
    305: "Software", 306: "DateTime", 315: "Artist", 316: "HostComputer", 700: "XMP",
    33432: "Copyright", 37510: "UserComment", 65000: "Private",
}  # fmt: skip
ASKED = ("-m", "nets.py:tiny", "--trust", "--tile", "256", "--device", "cpu")
EXPORTS = ("ome-tiff", "geojson", "json", "png")


def write_slide(path: Path) -> None:
    """An SVS whose every text is a canary, with a label image that spells one."""
    pixels = np.random.default_rng(0).integers(1, 256, (*SHAPE, 3), np.uint8)
    said = "Aperio Image Library canaryDESCRIPTION\r\n420x300 |AppMag = 20|MPP = 0.5"
    said += "|Barcode = canaryBARCODE|Patient = canaryPATIENT|User = canaryUSER"
    extra = [
        (code, "s", 0, f"canary{name.upper()}", True) for code, name in TAGS.items() if code != 270
    ]
    label = np.frombuffer(b"canaryLABELPIXELS" * 540, np.uint8)[: 54 * 56 * 3].reshape(54, 56, 3)
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            pixels, tile=(64, 64), photometric="rgb", compression="jpeg", description=said,
            extratags=extra, metadata=None, software=False,
        )  # fmt: skip
        tif.write(
            label, photometric="rgb", description="Aperio canaryLABELTEXT\r\nlabel 56x54",
            metadata=None, subfiletype=1, rowsperstrip=54, software=False,
        )  # fmt: skip


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """The slide in a folder of its own, that tells of the patient too."""
    archive = tmp_path / "canaryFOLDER"
    archive.mkdir()
    slide = archive / f"{NAME}.svs"
    write_slide(slide)
    (archive / f"{NAME}-b.svs").write_bytes(slide.read_bytes()[:5000])
    return slide


def test_the_canaries_are_in_the_file(archive: Path) -> None:
    content = archive.read_bytes()
    names = [name.upper() for name in TAGS.values() if name != "ImageDescription"]
    for name in (*names, "DESCRIPTION", "BARCODE", "PATIENT", "LABELTEXT", "LABELPIXELS"):
        assert f"canary{name}".encode() in content


def found_in(data: bytes) -> set[bytes]:
    """Canaries in some bytes."""
    return {data[i : i + 14] for i in range(len(data)) if data.startswith(b"canary", i)}


def leaked(*places: Path, said: tuple[str, ...]) -> dict[str, set[bytes]]:
    """Canaries in names and contents of all files of some folders, and in texts."""
    found = {text[:60]: found_in(text.encode()) for text in said}
    for place in places:
        for path in place.rglob("*"):
            found[str(path.relative_to(place))] = found_in(str(path.relative_to(place)).encode())
            if path.is_file():
                data = path.read_bytes()
                found[f"in {path.name}"] = found_in(data) | found_in(opened(data))
    return {where: canaries for where, canaries in found.items() if canaries}


def opened(data: bytes) -> bytes:
    """What compressed text chunks of a PNG hold."""
    if not data.startswith(b"\x89PNG"):
        return b""
    parts = [p for p in data.split(b"zTXt")[1:] if b"\0\0" in p[:100]]
    return b"".join(zlib.decompressobj().decompress(p.split(b"\0\0", 1)[1]) for p in parts)


def everything(folder: Path, slide: Path, *more: str, told: str = "--debug") -> list[Ended]:
    """Map the slide, export the map in all formats, and fail on a damaged slide."""
    out = folder / "out"
    runs = [command("infer", str(slide), *ASKED, "-o", str(out), *more, told, cwd=folder)]
    assert runs[0].code == 0, runs[0].err
    (mapped,) = out.glob("*.zarr")
    runs.append(command("export", str(mapped), "--to", "csv", cwd=folder))
    for kind in EXPORTS:
        chosen: dict[str, Any] = {"classes": ("class 1",)} if kind == "png" else {}
        export_map(mapped, kind, folder / f"out/export.{kind}", **chosen)
    damaged = slide.with_name(f"{NAME}-b.svs")
    absent = slide.with_name(f"{NAME}-c.svs")
    # Several slides are summed up in a table and a file.
    words = ("--json", "--debug", "-o", str(folder / "out/bad"), *more)
    runs.append(command("infer", str(damaged), str(absent), *ASKED, *words, cwd=folder))
    assert runs[-1].code == 5, runs[-1].err
    assert (folder / "out/bad/summary.csv").exists()
    return runs


def test_without_the_flag_only_names_of_files_are_told(folder: Path, archive: Path) -> None:
    runs = everything(folder, archive)
    found = leaked(folder, said=tuple(text for run in runs for text in (run.out, run.err)))
    assert set().union(*found.values()) <= {b"canaryNAME-Smi", b"canaryFOLDER/c"}
    assert found["in zarr.json"] == {b"canaryNAME-Smi"}


@pytest.mark.dask
@pytest.mark.parametrize(("more", "told"), [((), "--debug"), (("--workers", "1"), "--json")])
def test_with_the_flag_nothing_is_told(
    more: tuple[str, ...], told: str, folder: Path, archive: Path
) -> None:
    key = folder.parent / "key.txt"
    key.write_text(f"{KEY}\n")
    words = ("--deidentify", "--deidentify-key", str(key), *more)
    runs = everything(folder, archive, *words, told=told)
    assert leaked(folder, said=tuple(t for run in runs for t in (run.out, run.err))) == {}
    assert (folder / f"out/{CALLED}.zarr/zarr.json").is_file()
    assert CALLED in runs[0].out
    assert KEY.encode() not in (folder / f"out/{CALLED}.zarr/zarr.json").read_bytes()
    with Image.open(folder / f"out/{CALLED}.png") as picture:
        assert picture.info.keys() <= {"Software", "dpi"}


def test_the_same_command_finds_its_map_again(folder: Path, archive: Path) -> None:
    words = ("infer", str(archive), *ASKED, "--deidentify")
    first, second = command(*words, cwd=folder), command(*words, cwd=folder)
    assert (first.code, second.code) == (0, 0)
    assert "finished before" in second.out
    assert f"with the key of {os.environ['GIGAFCN_CACHE']}/deidentify.key" in first.err
    assert "canary" not in first.err + second.err


def test_the_users_own_key_is_made_once_and_only_they_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGAFCN_CACHE", str(tmp_path))
    monkeypatch.delenv("GIGAFCN_DEIDENTIFY_KEY", raising=False)
    key = read_key(None)
    assert read_key(None) == key
    assert len(key) == 64
    assert (tmp_path / "deidentify.key").stat().st_mode & 0o077 == 0


def test_a_key_may_come_from_a_variable_and_a_short_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIGAFCN_DEIDENTIFY_KEY", KEY)
    assert read_key(None) == KEY.encode()
    monkeypatch.setenv("GIGAFCN_DEIDENTIFY_KEY", "secret")
    with pytest.raises(UsageError, match="6 bytes, which could be guessed"):
        read_key(None)


def test_another_key_gives_another_name_and_another_folder_the_same() -> None:
    assert pseudonym("/a/x.svs", b"1" * 16) == pseudonym("b/x.svs", b"1" * 16)
    assert pseudonym("/a/x.svs", b"1" * 16) != pseudonym("/a/x.svs", b"2" * 16)


@pytest.mark.parametrize(
    "said",
    [
        "/data/Smith/P-77.ome.tiff: no such file; did you mean /data/Smith/P-78.ome.tiff?",
        "cannot read P-77.ome.tiff, level 0",
        "slide 'P-77' has no level 3",
        "[Errno 5] /data/Smith is not mounted",
    ],
)
def test_a_message_names_neither_slide_nor_folder_nor_neighbours(said: str) -> None:
    cleaned = Disguise("/data/Smith/P-77.ome.tiff", "slide-0").clean(said)
    assert "P-7" not in cleaned
    assert "Smith" not in cleaned


def test_a_name_of_one_digit_does_not_turn_numbers_into_names() -> None:
    assert (
        Disguise("1.svs", "slide-0").clean("1 of 11 tiles of 1.svs") == "1 of 11 tiles of slide-0"
    )
