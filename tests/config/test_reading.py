"""A TOML file is read whole or refused in one line that names the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from gigafcn.config import InferOptions, read_config
from gigafcn.errors import UsageError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WriteConfig = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteConfig:
    def write_text(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write_text


def test_options_are_read_from_the_table(write: WriteConfig) -> None:
    assert read_config(write("[infer]\ntile = 512\n")).arguments() == {"tile": 512}


def test_options_are_read_from_the_top_level(write: WriteConfig) -> None:
    assert read_config(write('memory = "1GiB"\n')).arguments() == {"memory": 2**30}


def test_an_unknown_key_is_refused_with_the_nearest_known_one(write: WriteConfig) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'slide-mp'; did you mean slide_mpp\?"):
        read_config(write("slide-mp = 0.5\n"))


def test_a_key_like_no_other_is_refused_without_a_guess(write: WriteConfig) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'qqq'$"):
        read_config(write("qqq = 1\n"))


def test_a_key_beside_the_table_is_refused(write: WriteConfig) -> None:
    with pytest.raises(UsageError, match=r"'tile' stands outside \[infer\]"):
        read_config(write("tile = 512\n[infer]\nstrip = 64\n"))


@pytest.mark.parametrize(
    "text",
    [
        '[model]\nfactory = "nets.py:unet"\nclasses = ["a"]\n',
        'factory = "nets.py:unet"\n',
        'checkpoint = "weights.safetensors"\nmpp = 0.5\n',
    ],
)
def test_a_file_that_describes_a_model_is_told_apart(write: WriteConfig, text: str) -> None:
    path = write(text)
    remedy = f"this describes a model: pass it as --model {path}"
    with pytest.raises(UsageError, match=re.escape(remedy)):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('dtype = "int8"', r"dtype: 'int8' is not one of 'auto', 'uint8', 'float16' or 'float32'"),
        ("tile = 0", "tile: must be more than 0, got 0"),
        ("tile = [512, 1.5]", "tile: expected a whole number, got 1.5"),
        ('memory = "much"', "memory: 'much' is no amount of memory"),
        ("level = -1", "level: must be at least 0, got -1"),
        ('device = "gpu"', "device: 'gpu' is not one of"),
        ("std = [1.0, 0.0]", r"std: must be more than 0, got 0"),
        ("output = 3", "output: "),
        ("infer = 3", r"infer must be a table \[infer\]"),
        ("tile = ", "not TOML: "),
    ],
)
def test_a_wrong_value_is_refused_with_key_value_and_limit(
    write: WriteConfig, text: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        read_config(write(text + "\n"))
    assert "run.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nosuch\.toml: cannot be read: No such file"):
        read_config(tmp_path / "nosuch.toml")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.toml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageError, match="not TOML"):
        read_config(tmp_path / "image.toml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_each_shipped_example_loads(path: Path) -> None:
    assert isinstance(read_config(path), InferOptions)


def test_the_full_example_names_every_option_with_a_valid_value(write: WriteConfig) -> None:
    text = (CONFIGS / "infer.toml").read_text()
    everything = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert set(tomllib.loads(everything)["infer"]) == set(InferOptions.model_fields)
    read_config(write(everything))


def test_the_full_example_sets_the_defaults() -> None:
    assert read_config(CONFIGS / "infer.toml") == InferOptions()
