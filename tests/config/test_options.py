"""Options become the library's arguments, and nothing is passed that nobody set."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gigafcn.config import InferOptions
from gigafcn.config.options import merged


def test_options_that_nobody_set_are_left_to_the_library() -> None:
    assert InferOptions().arguments() == {}


def test_a_region_becomes_a_box_of_rows_then_columns() -> None:
    options = InferOptions.model_validate({"region": "10,20,300,400"})
    assert options.arguments() == {"region": (20, 10, 420, 310)}


def test_model_and_output_are_not_among_the_arguments() -> None:
    options = InferOptions(model="m", output=Path("o"), overwrite=True)
    assert options.arguments() == {"overwrite": True}


def test_texts_become_numbers() -> None:
    options = InferOptions.model_validate(
        {"tile": "512,256", "mean": "0.5,-1", "memory": "1KiB", "slide_mpp": "0.25"}
    )
    assert options.arguments() == {
        "tile": (512, 256),
        "mean": (0.5, -1.0),
        "memory": 1024,
        "slide_mpp": 0.25,
    }


def test_a_flag_overrides_the_file_and_leaves_the_rest() -> None:
    file = InferOptions(strip=64, region=(1, 2, 3, 4))
    flags = InferOptions(strip=32, dtype="float32")
    assert merged(file, flags).arguments() == {
        "strip": 32,
        "region": (2, 1, 6, 4),
        "dtype": "float32",
    }


def test_a_flag_can_set_a_default_back() -> None:
    assert merged(InferOptions(dtype="float16"), InferOptions(dtype="auto")).dtype == "auto"


def test_mean_and_std_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValidationError, match="mean has 3 numbers and std 2"):
        InferOptions(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0))


def test_one_std_goes_with_any_number_of_means() -> None:
    assert InferOptions(mean=(0.1, 0.2, 0.3), std=(1.0,)).std == (1.0,)
