"""What is known, and how, of maps that a model makes: the certificate as data, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from gigafcn.certificate.compare import Difference
from gigafcn.certificate.far_edge import FarEdge
from gigafcn.certificate.patchwise import Patchwise
from gigafcn.certificate.poison import NOT_MINIMAL, Poisoning
from gigafcn.errors import CertificateError
from gigafcn.geometry import Span
from gigafcn.graph.model_graph import Blocker

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = {
    "not local": "an op needs the whole image, so no tiling is exact",
    "refuted": "a check failed: tiles do not give what the whole image would",
    "rounded": "every op has a local rule, but the precision that was asked for changes the "
    "model's own output by more than can be certified",
    "structural": "every op has a local rule; each tile computes all that its pixels depend on",
    "structural+measured": "every op has a local rule, and on images of their own NaN outside a "
    "tile's need did not reach it and sweeps equalled the module up to rounding",
}
"""Exactness classes, and what they mean."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """How exact maps of a model are and what shows it; the answer of :func:`gigafcn.verify`."""

    model: str
    """Name."""

    fingerprint: str
    """Sha256 over the model's ops and weights."""

    form: str
    """"full", or "short": what runs before each map."""

    blockers: tuple[Blocker, ...] = ()
    """Why tiling cannot be exact."""

    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    """(top, bottom, left, right) input px."""

    period: tuple[int, int] = (1, 1)
    """Input px (y, x)."""

    shift_invariant: bool = True
    remedy: str = ""
    """How else a model that is not local can be run."""

    ops: int = 0
    """Ops whose rules the proof rests on."""

    poisonings: tuple[Poisoning, ...] = ()
    """NaN outside the need of tiles of the untouched module."""

    differences: tuple[Difference, ...] = ()
    """Sweep against module."""

    patchwise: Patchwise | None = None
    """Map against patches, of a converted classifier of patches in the full form."""

    far_edge: FarEdge | None = None
    """The padded image against the image itself where the image ends, if both are possible."""

    failures: tuple[str, ...] = ()
    """Checks that failed."""

    not_done: tuple[str, ...] = ()
    """Checks that could not be carried out, or showed nothing, and why."""

    seed: int = 0
    """Of all noise."""

    device: str = "cpu"
    """Where sweeps were compared with the module."""

    versions: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    """That the checks took."""

    allowed_s: float = 0.0
    """Seconds that the checks were allowed to take."""

    s_per_px: float = 0.0
    """Seconds that the module took for a px of an image in the checks."""

    cached: bool = False
    """Whether the checks ran earlier, on this machine, with the same model and versions."""

    @property
    def holds(self) -> bool:
        """Whether maps are exact as far as anything shows."""
        return not self.blockers and not self.failures

    @property
    def exactness(self) -> str:
        """One of :data:`CLASSES`."""
        if self.blockers:
            return "not local"
        if self.failures:
            return "refuted"
        poisoned = {one.axis for one in self.poisonings} == {0, 1}
        return "structural+measured" if poisoned and self.differences else "structural"

    @property
    def minimal(self) -> bool:
        """Whether no need that was tried for it is larger than it must be."""
        return not any(NOT_MINIMAL in one.sides.values() for one in self.poisonings)

    @property
    def summary(self) -> str:
        """One line."""
        if self.blockers:
            more = f" (and {len(self.blockers) - 1} more)" if len(self.blockers) > 1 else ""
            return f"not local: {self.blockers[0]}{more}"
        if self.failures:
            return f"refuted: {self.failures[0]}"
        parts = [self.exactness]
        if self.poisonings:
            parts.append(f"NaN outside the needs of {len(self.poisonings)} tiles reached none")
        worst = self.worst
        if worst is not None:
            parts.append(
                f"sweep and module differ by at most {worst.difference:.2g} in {worst.precision} "
                f"(bound {worst.bound:.2g}, largest output {worst.largest:.2g})"
            )
        if self.patchwise is not None:
            parts.append(str(self.patchwise))
        if self.far_edge is not None:
            parts.append(str(self.far_edge))
        parts.extend(f"not done: {what}" for what in self.not_done)
        return "; ".join(parts)

    @property
    def worst(self) -> Difference | None:
        """The difference that comes closest to its bound."""
        key = [one.difference / one.bound if one.bound else 0.0 for one in self.differences]
        return self.differences[key.index(max(key))] if key else None

    def with_patchwise(self, found: Patchwise) -> Certificate:
        """The same with map and patches compared, which fails if rounding does not explain it."""
        failures = self.failures
        if not found.within:
            told = f"{found}, where rounding explains at most {found.bound:.2g}: it does not pad"
            failures = (*failures, told)
        seconds = round(self.seconds + found.seconds, 3)
        return replace(self, patchwise=found, failures=failures, seconds=seconds)

    def require(self) -> None:
        """Raise :class:`CertificateError`, naming the check and its figures, unless it holds."""
        if self.holds:
            return
        if any(one.is_coarse for one in self.differences):
            raise CertificateError(
                f"model {self.model} cannot be certified: {self.summary}; --precision fp64 "
                f"computes finer, and --no-verify (verify=False) maps all the same"
            )
        raise CertificateError(
            f"model {self.model}: maps would not be exact: {self.summary}. This is a mistake "
            f"in gigafcn's rules or in the model's export, please report it; "
            f"--no-verify (verify=False) maps all the same"
        )

    def from_cache(self) -> Certificate:
        """The same, known to stem from an earlier run."""
        return replace(self, cached=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the class and the one-line summary."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["blockers"] = [asdict(blocker) for blocker in self.blockers]
        plain["poisonings"] = [_plain(one) for one in self.poisonings]
        plain["differences"] = [_plain(one) for one in self.differences]
        plain["patchwise"] = None if self.patchwise is None else _plain(self.patchwise)
        plain["far_edge"] = None if self.far_edge is None else _plain(self.far_edge)
        plain["versions"] = dict(self.versions)
        derived = {
            "class": self.exactness,
            "meaning": CLASSES[self.exactness],
            "holds": self.holds,
            "summary": self.summary,
        }
        return derived | {name: _listed(value) for name, value in plain.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Certificate:
        """Inverse of :meth:`to_json`."""
        known = {f.name: _tupled(data[f.name]) for f in fields(cls) if f.name in data}
        patchwise = data.get("patchwise")
        known["patchwise"] = patchwise and Patchwise(
            **{name: _tupled(value) for name, value in patchwise.items()}
        )
        edge = data.get("far_edge")
        known["far_edge"] = edge and FarEdge(**{name: _tupled(v) for name, v in edge.items()})
        known["blockers"] = tuple(Blocker(**one) for one in data["blockers"])
        known["poisonings"] = tuple(_poisoning(one) for one in data["poisonings"])
        known["differences"] = tuple(
            Difference(**{name: _tupled(value) for name, value in one.items()})
            for one in data["differences"]
        )
        known["versions"] = tuple(data["versions"].items())
        return cls(**known)


def _plain(one: Any) -> dict[str, Any]:
    return {f.name: _listed(getattr(one, f.name)) for f in fields(one)}


def _poisoning(data: Mapping[str, Any]) -> Poisoning:
    known = {name: _tupled(value) for name, value in data.items()}
    return Poisoning(**known | {name: Span(*data[name]) for name in ("tile", "need")})


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
