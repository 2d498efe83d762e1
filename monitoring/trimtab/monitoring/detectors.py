"""river's online drift detectors behind one interface: a row's loss in, an alarm out.

Each looks at losses row by row as labels land, and knows nothing of windows or references: a second opinion beside
the calibrated verdict, and the alarm of the policies that ours is compared with. All run at river's own defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    import numpy.typing as npt

#: Names of the detectors, as users write them.
DETECTORS = ("adwin", "ddm", "hddm", "hddm_w", "page_hinkley")


class Detector(Protocol):
    """Sees losses one by one and says when they went up."""

    def update(self, loss: float) -> bool:
        """Take one row's loss (1 or 0 for a wrong or right class; for numbers 0 to 1); whether this row alarms."""
        ...


class _River:
    """One of river's detectors, told only of a rise: one that also fires when things get better is filtered.

    Args:
        make: builds a fresh detector.
        binary: whether it takes 0 and 1 alone; other losses are then 1 above a half.
        both_ways: whether it also fires when losses fall.
    """

    def __init__(self, make: Callable[[], Any], *, binary: bool, both_ways: bool) -> None:
        self._make, self._binary, self._both_ways = make, binary, both_ways
        self._detector = make()
        self._long, self._recent, self._n = 0.0, 0.0, 0

    def update(self, loss: float) -> bool:
        """Take one row's loss; whether this row alarms. After an alarm the detector starts afresh."""
        self._n += 1
        self._long += (loss - self._long) / self._n
        self._recent += (loss - self._recent) * max(1 / self._n, RECENT)
        self._detector.update(int(loss > 0.5) if self._binary else loss)
        if not self._detector.drift_detected:
            return False
        rose = not self._both_ways or self._recent > self._long
        if rose:
            self._detector = self._make()
            self._long, self._recent, self._n = 0.0, 0.0, 0
        return rose


# Weight of a row in the running mean that tells a rise from a fall.
RECENT = 0.02


def detector(name: str) -> Detector:
    """A fresh detector at river's defaults.

    `adwin`: Bifet and Gavaldà 2007. `ddm`: Gama et al. 2004. `hddm`, `hddm_w`: Frías-Blanco et al. 2015, with the
    A-test (sudden change) and the W-test (gradual change). `page_hinkley`: Page 1954.

    Args:
        name: one of `DETECTORS`.

    Raises:
        ProjectError: there is none of this name.

    >>> found = detector("ddm")
    >>> [i for i in range(400) if found.update(float(i % 10 == 0 if i < 300 else i % 2 == 0))][:1]
    [326]
    """
    from river import drift

    makers: dict[str, _River] = {
        "adwin": _River(drift.ADWIN, binary=False, both_ways=True),
        "ddm": _River(drift.binary.DDM, binary=True, both_ways=False),
        "hddm": _River(drift.binary.HDDMA, binary=True, both_ways=False),
        "hddm_w": _River(drift.binary.HDDMW, binary=True, both_ways=False),
        "page_hinkley": _River(lambda: drift.PageHinkley(mode="up"), binary=False, both_ways=False),
    }
    if name not in makers:
        raise ProjectError("no such drift detector", object=name, expected=", ".join(DETECTORS), got=name)
    return makers[name]


def alarms(name: str, losses: Iterable[float] | npt.ArrayLike) -> list[int]:
    """Rows (0-based) at which a fresh detector alarms over a sequence of losses.

    >>> alarms("adwin", [0.0] * 500 + [1.0] * 500)[0] in range(500, 540)
    True
    """
    import numpy as np

    found = detector(name)
    return [i for i, loss in enumerate(np.asarray(losses, np.float64).tolist()) if found.update(loss)]
