"""What a module writes in forward is traced as a second call finds it; what changes is refused."""

from __future__ import annotations

import random
import re
import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from gigafcn.analysis import analyze
from gigafcn.errors import UnsteadyError
from gigafcn.graph.calls import calls_of
from tests.changing_nets import CHANGING, OWN_EACH_SIZE, RANDOM, SETTLING

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", [*SETTLING, *OWN_EACH_SIZE])
def test_the_users_module_stays_as_it_was(name: str) -> None:
    net = {**SETTLING, **OWN_EACH_SIZE}[name]().eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    tensors = [id(t) for t in (*net.parameters(), *net.buffers())]
    kept = {key: value for key, value in vars(net).items() if isinstance(value, bool | int | None)}
    analyze(net)
    assert [id(t) for t in (*net.parameters(), *net.buffers())] == tensors
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert kept == {key: vars(net)[key] for key in kept}


@pytest.mark.parametrize("name", CHANGING)
def test_what_keeps_changing_is_refused_by_its_name(name: str) -> None:
    make, written = CHANGING[name]
    with pytest.raises(UnsteadyError, match=rf"its forward writes .*\b{written}\b") as caught:
        analyze(make())
    assert "\n" not in str(caught.value)


def test_what_keeps_changing_is_named_with_its_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), CHANGING["running mean"][0]())
    with pytest.raises(UnsteadyError, match=r"writes 1\.mean,"):
        analyze(net)


@pytest.mark.parametrize("name", RANDOM)
def test_random_ops_are_refused_by_name(name: str) -> None:
    make, op = RANDOM[name]
    with pytest.raises(UnsteadyError) as caught:
        analyze(make()).require_local()
    assert re.search(op, str(caught.value))
    assert "random" in str(caught.value)


def test_a_random_op_is_named_with_its_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(RANDOM["randn"][0]()))
    with pytest.raises(UnsteadyError, match=r"randn in 1\.0 "):
        analyze(net).require_local()


class TwoOutputs(nn.Module):
    """A steady output and a random one."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.c(x)
        return {"steady": y, "sampled": y + torch.randn_like(y)}


def test_a_random_output_does_not_stand_in_the_way_of_another() -> None:
    assert analyze(TwoOutputs(), output="steady").local
    with pytest.raises(UnsteadyError, match="randn_like"):
        analyze(TwoOutputs(), output="sampled").require_local()


class Dropping(nn.Module):
    """Every kind of dropout that is off in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(),
            nn.FeatureAlphaDropout(), nn.RReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.layers(x), training=self.training)


def test_dropout_that_is_off_is_not_random() -> None:
    assert analyze(Dropping()).local


def _old_weight_norm() -> nn.Module:
    return weight_norm(nn.Conv2d(3, 2, 3, padding=1))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        _old_weight_norm,
        lambda: spectral_norm(nn.Conv2d(3, 2, 3, padding=1)),
        lambda: parametrizations.weight_norm(nn.Conv2d(3, 2, 3, padding=1)),
        lambda: parametrizations.spectral_norm(nn.Conv2d(3, 2, 3, padding=1)),
    ],
    ids=["weight norm, hook", "spectral norm, hook", "weight norm", "spectral norm"],
)
def test_norms_of_weights_are_steady(make: Callable[[], nn.Module]) -> None:
    net = make().eval()
    calls = calls_of(net, 3, (64, 64))
    assert calls.size is not None
    assert not any(calls.names_unlike().values())
    assert analyze(net).local


def test_what_other_threads_draw_is_not_the_modules() -> None:
    stop = threading.Event()

    def draw() -> None:
        while not stop.wait(1e-4):
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        found = [calls_of(nn.Conv2d(3, 2, 3), 3, (64, 64)).drawn for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert found == [()] * 20


def test_the_random_numbers_of_the_user_are_not_touched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    net = RANDOM["rand"][0]()
    torch.manual_seed(5)
    analyze(net)
    assert torch.equal(torch.rand(3), expected)


def test_weights_that_change_between_two_runs_are_seen() -> None:
    net = SETTLING["data replaced"]().eval()
    first = analyze(net).graph
    with torch.no_grad():
        net.get_parameter("c.weight").mul_(2)
    second = analyze(net).graph
    assert first is not None
    assert second is not None
    weights = [getattr(graph.result.rule, "weight") for graph in (first, second)]  # noqa: B009
    assert torch.allclose(2 * weights[0], weights[1])
