"""`trimtab doctor`: looks at everything that usually goes wrong, from where it runs, and says what to do about it.

`examine` runs the checks one after another: this machine (`machine`), the store and what it holds (`stored`), rights in
its bucket (`policies`), what answers on the network (`answering`), and where there is one a Kubernetes (`cluster`), its
KServe (`kserve`) and its Kubeflow Pipelines (`kubeflow`). A check changes nothing; the store's trial of conditional
create cleans up.
"""

from __future__ import annotations

from trimtab.doctor.checks import Finding, examine

__all__ = ["Finding", "examine"]
