"""Before a map is written, the model itself is tried; a wrong rule leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gigafcn
from gigafcn.certificate.certificate import Certificate
from gigafcn.graph.rules.window import Convolution, MaxPool
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.verify import check_before_run
from tests.mutations import TOO_SMALL, mutated
from tests.run.small_nets import EXACT, Skip, ValidUNet, random_numbers
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

OPTIONS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "activation": "none"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIGAFCN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def mapped(net: nn.Module, path: Path, **options: Any) -> gigafcn.Result:
    return gigafcn.infer(small_image(90, 70), net, path, **OPTIONS | options)


@pytest.mark.parametrize("name", EXACT)
def test_the_checks_are_stored_with_the_map(name: str, tmp_path: Path) -> None:
    result = mapped(random_numbers(EXACT[name][0]()), tmp_path / "m.zarr")
    assert result.certificate["class"] == "structural+measured"
    attributes = json.loads((tmp_path / "m.zarr" / "zarr.json").read_text())["attributes"]
    stored = Certificate.from_json(attributes["gigafcn"]["certificate"]["checks"])
    assert stored.holds
    assert stored.form == "short"
    assert [one.axis for one in stored.poisonings] == [0, 1]
    assert all(one.nan_px > 0 and one.reached == 0 for one in stored.poisonings)
    assert stored.differences[0].difference <= stored.differences[0].bound


def test_a_model_is_tried_once(tmp_path: Path) -> None:
    first, second = (
        mapped(random_numbers(Skip()), tmp_path / name).certificate["checks"]
        for name in ("a.zarr", "b.zarr")
    )
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["seconds"] == first["seconds"]


def test_a_model_too_slow_for_the_time_is_still_poisoned_and_not_tried_twice() -> None:
    request = prepare(small_image(512, 512), "zoo:vgg16", Options(patch=224))
    first = check_before_run(request)
    assert first.poisonings, first.summary
    assert all(one.suffices for one in first.poisonings)
    again = check_before_run(request)
    assert again == first.from_cache()


def test_other_weights_are_tried_anew(tmp_path: Path) -> None:
    mapped(random_numbers(Skip()), tmp_path / "a.zarr")
    result = mapped(random_numbers(Skip(), seed=1), tmp_path / "b.zarr")
    assert not result.certificate["checks"]["cached"]


def test_another_image_is_not_a_reason_to_try_anew(tmp_path: Path) -> None:
    mapped(random_numbers(Skip()), tmp_path / "a.zarr")
    image = small_image(301, 203)
    result = gigafcn.infer(image, random_numbers(Skip()), tmp_path / "b.zarr", **OPTIONS)
    assert result.certificate["checks"]["cached"]


def test_without_verify_nothing_is_tried(tmp_path: Path, cache: Path) -> None:
    result = mapped(random_numbers(Skip()), tmp_path / "m.zarr", verify=False)
    assert result.certificate["class"] == "structural"
    assert result.certificate["checks"] is None
    assert not cache.exists()


def test_the_map_does_not_depend_on_it(tmp_path: Path) -> None:
    one, other = (
        scores_of(mapped(random_numbers(Skip()), tmp_path / f"{v}.zarr", verify=v).path)
        for v in (True, False)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rule", [Convolution, MaxPool])
@pytest.mark.parametrize("change", TOO_SMALL)
def test_a_wrong_rule_fails_before_anything_is_written(
    rule: type[Any], change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "need", mutated(rule, TOO_SMALL[change]))
    with pytest.raises(gigafcn.CertificateError, match="maps would not be exact: refuted"):
        mapped(random_numbers(Skip()), tmp_path / "m.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_rule_that_went_wrong_since_is_not_covered_by_an_old_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped(random_numbers(Skip()), tmp_path / "a.zarr")
    monkeypatch.setattr(Convolution, "need", mutated(Convolution, TOO_SMALL["stops one early"]))
    with pytest.raises(gigafcn.CertificateError):
        mapped(random_numbers(Skip()), tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()


def test_nets_without_padding_and_other_precisions_are_tried_too(tmp_path: Path) -> None:
    net = random_numbers(ValidUNet(depth=2))
    for precision, compared in (("fp64", "fp64"), ("fp32", "fp32")):
        result = mapped(net, tmp_path / f"{precision}.zarr", precision=precision)
        checks = result.certificate["checks"]
        assert [one["precision"] for one in checks["differences"]] == [compared]
        assert checks["holds"]
