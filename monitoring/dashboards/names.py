"""Names that dashboards, provisioning and links of alerts agree on."""

from __future__ import annotations

from pathlib import Path

# Where the dashboards' JSON lies.
FOLDER = Path(__file__).parent / "json"
# Fixed names, so that links, provisioning and annotations of alerts can rely on them.
PROMETHEUS = "trimtab-prometheus"
ALERTMANAGER = "trimtab-alertmanager"
ALERTMANAGER_NAME = "Trimtab Alertmanager"
HOOK = "http://127.0.0.1:8090"
# uid → title, in the order of the links at the top of each.
TITLES = {
    "trimtab-overview": "Trimtab: overview",
    "trimtab-drift": "Trimtab: drift",
    "trimtab-serving": "Trimtab: serving",
    "trimtab-campaigns": "Trimtab: campaigns and ledger",
    "trimtab-pipelines": "Trimtab: pipelines and cost",
}
