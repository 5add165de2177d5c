"""What an exported model says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kdsearch.data.site import Site
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN

__all__ = ["ENTRY", "Spec"]

# Under this name the specification stands in the file of a model.
ENTRY = "kdsearch.json"
_FORMAT = 1


@dataclass(frozen=True)
class Spec:
    """All that a user of a model must know to feed it.

    Attributes:
        dataset, data: name and fingerprint of the dataset it was trained on.
        sensors: how many; the order is the dataset's.
        unit: of readings and forecasts: ``mph``, ``km/h`` or ``m/s``.
        missing: what marks a missing reading: ``nan``, or ``zero`` as well.
        minutes: between two readings, and between two steps of a forecast.
        history: readings that a forecast sees.
        steps: how many it forecasts.
        parameters: trained numbers in the network.
        clock: whether it must be told the time of day.
    """

    dataset: str
    data: str
    sensors: int
    unit: str
    missing: str
    minutes: int
    history: int
    steps: int
    parameters: int
    clock: bool = False

    @classmethod
    def of(cls, site: Site, network: STGCN) -> Spec:
        """That of a network of a site."""
        return cls(
            dataset=site.name,
            data=site.fingerprint,
            sensors=site.n_nodes,
            unit=site.unit,
            missing=site.missing,
            minutes=site.minutes,
            history=site.n_his,
            steps=site.n_pred,
            parameters=network.n_parameters(),
            clock=bool(network.layout.calendar),
        )

    @property
    def ahead(self) -> list[int]:
        """Minutes from the last reading to each step of a forecast: 5, 10, ... 45."""
        return [self.minutes * step for step in range(1, self.steps + 1)]

    def text(self) -> str:
        """As the file of a model holds it."""
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def read(cls, text: str | None, path: Path) -> Spec:
        """Read what :meth:`text` gave.

        Raises:
            UserError: the model in ``path`` is none of kdsearch, or of another version.
        """
        try:
            values = json.loads(text or "")
            if values.pop("format") != _FORMAT:
                raise UserError(f"{path} was exported by another version of kdsearch: export it again")
            values.setdefault("clock", False)  # of an earlier version, none of whose networks had one
            return cls(**{f.name: values[f.name] for f in fields(cls)})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path} was not written by kdsearch.export --model: it has no {ENTRY}") from None
