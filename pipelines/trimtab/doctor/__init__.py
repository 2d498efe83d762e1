"""`trimtab doctor`: looks at everything that usually goes wrong, from where it runs, and says what to do about it.

`examine` runs the checks one after another: this machine (`machine`), the store and what it holds (`stored`), and what
answers on the network (`answering`). A check changes nothing; the store's trial of conditional create cleans up.
"""

from __future__ import annotations

from trimtab.doctor.checks import Finding, examine

__all__ = ["Finding", "examine"]
