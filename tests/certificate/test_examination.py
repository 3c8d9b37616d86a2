"""Models under examination: what holds is certified, what does not is told by its figures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import gigafcn
from gigafcn.analysis import analyze
from gigafcn.certificate.certificate import Certificate
from gigafcn.certificate.examination import examine, full_form, short_form, shows_all
from gigafcn.certificate.poison import MINIMAL, OtherShapeError
from gigafcn.certificate.sizes import SizedGraphs
from gigafcn.errors import CertificateError
from gigafcn.graph.rules.pointwise import ScaleShift
from gigafcn.graph.rules.window import Convolution
from tests.mutations import TOO_LARGE, TOO_SMALL, mutated
from tests.nets import NETS, randomised
from tests.run.small_nets import ValidUNet, double, quarter, random_numbers

# torch says once that even kernels may need a padded copy; that costs memory, not exactness.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

MODELS = {
    "aligned corners": lambda: randomised(NETS["aligned"]()),
    "odd borders": lambda: randomised(NETS["border"]()),
    "even kernels": lambda: randomised(NETS["even"]()),
    "without padding": lambda: random_numbers(ValidUNet(depth=2)),
    "finer than its image": lambda: random_numbers(double()),
    "coarser than its image": lambda: random_numbers(quarter()),
    "regrouped": lambda: randomised(NETS["regrouped"]()),
}


LONG_RUN_PX = 1e12
"""Px of a run of which 5 % is more time than any check needs, however busy the machine."""


def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def examined(module: nn.Module, form: str = "full") -> Certificate:
    chosen = full_form("fp32") if form == "full" else short_form("fp32", LONG_RUN_PX)
    return examine(analyze(module), "net", chosen)


@pytest.mark.parametrize("name", MODELS)
def test_a_local_model_gets_a_certificate_in_full(name: str) -> None:
    found = examined(MODELS[name]())
    assert found.holds, found.summary
    assert found.exactness == "structural+measured"
    assert found.minimal
    for axis in (0, 1):
        sides = [one.sides.values() for one in found.poisonings if one.axis == axis]
        assert list(sides[0]) == [MINIMAL, MINIMAL]
    assert [one.precision for one in found.differences] == ["fp32", "fp64"]
    assert all(one.interior and one.tiles == 9 for one in found.differences)
    assert found.not_done == ()


@pytest.mark.parametrize("name", ["aligned corners", "without padding", "odd borders"])
def test_the_short_form_needs_no_further_export(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    footprint = analyze(MODELS[name]())
    monkeypatch.setattr(SizedGraphs, "exported", None)
    found = examine(footprint, "net", short_form("fp32", LONG_RUN_PX))
    assert found.exactness == "structural+measured", found.summary


def test_the_demonstration_model_holds_and_needs_what_inspect_says() -> None:
    found = gigafcn.verify("demonstration")
    assert found.holds
    assert found.minimal
    assert found.halo == gigafcn.analyze(gigafcn.load_model("demonstration").module).halo
    assert "structural+measured" in found.summary


@pytest.mark.parametrize("form", ["full", "short"])
@pytest.mark.parametrize("change", TOO_SMALL)
def test_a_need_that_is_too_small_is_refuted_by_poison(
    form: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Convolution, "need", mutated(Convolution, TOO_SMALL[change]))
    found = examined(conv(), form)
    assert found.exactness == "refuted"
    assert "NaN outside reached" in found.failures[0]
    with pytest.raises(gigafcn.CertificateError, match=r"along y depend on more than image px"):
        found.require()


def test_a_need_that_is_too_large_is_told_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change = TOO_LARGE["starts one early"]
    monkeypatch.setattr(Convolution, "need", mutated(Convolution, change))
    # Its run cannot deal with a wrong need; that is not what is asked here.
    found = examined(conv())
    assert all(one.suffices for one in found.poisonings)
    assert not found.minimal
    assert any(one.before == "not minimal" for one in found.poisonings)


def test_wrong_arithmetic_is_refuted_by_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ScaleShift.run

    def wrong(self: ScaleShift, *arguments: object) -> Tensor:
        return right(self, *arguments) * 1.001  # type: ignore[arg-type]

    monkeypatch.setattr(ScaleShift, "run", wrong)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, padding=1)).eval()
    found = examined(net, "short")
    assert "sweep and module differ by" in found.failures[0]
    assert all(one.suffices for one in found.poisonings)


class Threshold(nn.Module):
    """Truth values: NaN compares as false."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.conv(x) > 0).to(x.dtype)
        return result


def test_a_model_that_hides_nan_is_told_apart() -> None:
    torch.manual_seed(0)
    found = examined(Threshold().eval())
    assert found.holds
    assert "poison along y: the model turns NaN into numbers" in found.not_done
    assert found.differences


class Different(nn.Module):
    """Returns another shape when it runs than when it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if torch.compiler.is_compiling() else x[:, :, :-1]


def test_another_shape_than_the_graph_says_is_refused() -> None:
    with pytest.raises(OtherShapeError, match=r"returns .* where its exported graph says"):
        examined(Different().eval(), "short")


def test_a_model_that_is_not_local_is_certified_as_such() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4)).eval()
    found = gigafcn.verify(net)
    assert not found.holds
    assert found.exactness == "not local"
    assert found.blockers[0].layer == "1"
    assert "--mode blend" in found.remedy


def test_an_ill_conditioned_model_is_certified_in_double_only() -> None:
    class Ratio(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = 1 / self.conv(x)
            return result

    torch.manual_seed(0)
    net = Ratio().eval()
    # In single precision it is a three hundredth of its largest value from itself in double, behind
    # which a mistake could hide.
    coarse = gigafcn.verify(net)
    assert not coarse.holds
    assert [one.is_coarse for one in coarse.differences] == [True, False]
    with pytest.raises(CertificateError, match=r"above its cap of .*--precision fp64"):
        coarse.require()
    assert gigafcn.verify(net, precision="fp64").holds


def test_several_outputs_are_verified_one_at_a_time() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near = nn.Conv2d(3, 1, 3, padding=1)
            self.far = nn.Conv2d(3, 2, 9, padding=4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"near": self.near(x), "far": self.far(x)}

    net = Two().eval()
    assert gigafcn.verify(net, output_name="near").halo == (1, 1, 1, 1)
    found = gigafcn.verify(net, output_name="far")
    assert found.holds
    assert found.halo == (4, 4, 4, 4)


def test_no_time_is_said_and_no_failure() -> None:
    form = short_form("fp32", 0.0)
    hurried = type(form)("short", False, form.precisions, form.sides, budget_s=0.0)
    found = examine(analyze(conv()), "net", hurried)
    assert found.holds
    assert found.exactness == "structural"
    assert "difference on a window: no time or memory for one" in found.not_done


def test_the_short_form_runs_the_module_once_per_axis_and_then_for_the_window() -> None:
    net, sizes = conv(), []
    net.register_forward_pre_hook(lambda _, images: sizes.append(tuple(images[0].shape[2:])))
    form = short_form("fp32", 0.0)
    footprint = analyze(net)
    sizes.clear()
    found = examine(footprint, "net", replace(form, budget_s=0.0))
    assert [one.axis for one in found.poisonings] == [0, 1]
    assert sizes == [one.image for one in found.poisonings]


@pytest.mark.parametrize(
    ("run_px", "enough"), [(0.0, True), (1e6, True), (1e9, False)], ids=["none", "small", "huge"]
)
def test_what_there_was_no_time_for_is_tried_again_before_a_much_longer_run(
    run_px: float, enough: bool
) -> None:
    known = Certificate("net", "0", "short", not_done=("x",), allowed_s=2.0, s_per_px=1e-6)
    assert shows_all(known, short_form("fp32", run_px)) == enough
    assert shows_all(replace(known, not_done=()), short_form("fp32", run_px))


def test_a_certificate_survives_json() -> None:
    for found in (examined(conv()), gigafcn.verify(nn.InstanceNorm2d(3).eval())):
        assert Certificate.from_json(json.loads(json.dumps(found.to_json()))) == found
