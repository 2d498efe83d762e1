"""Who may speak to whom, as NetworkPolicies say it: a small evaluator of the rules of Kubernetes' own specification.

It answers for a pair of pods what a network plugin would enforce. Our node's bridge enforces none; a cluster's plugin
has its own tests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.manifests.kustomize import Manifest


@dataclass(frozen=True)
class Peer:
    """A pod, or an address outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def allowed(policies: Sequence[Manifest], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out at its source and in at its target."""
    out = source.address != "" or _passes(policies, source, target, port, protocol, "egress", "to")
    return out and (target.address != "" or _passes(policies, target, source, port, protocol, "ingress", "from"))


def _passes(
    policies: Sequence[Manifest], here: Peer, there: Peer, port: int, protocol: str, way: str, word: str
) -> bool:
    mine = [
        p
        for p in policies
        if p["metadata"]["namespace"] == here.namespace
        and way.capitalize() in p["spec"]["policyTypes"]
        and _selects(p["spec"]["podSelector"], here.labels)
    ]
    if not mine:
        return True
    return any(
        _port(rule, port, protocol) and _peer(rule.get(word), p["metadata"]["namespace"], there)
        for p in mine
        for rule in p["spec"].get(way) or []
    )


def _port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(p["port"] == port and p.get("protocol", "TCP") == protocol for p in ports)


def _peer(peers: Sequence[Mapping[str, Any]] | None, namespace: str, there: Peer) -> bool:
    if not peers:
        return True
    return any(_one(peer, namespace, there) for peer in peers)


def _one(peer: Mapping[str, Any], namespace: str, there: Peer) -> bool:
    if "ipBlock" in peer:
        # Addresses of pods are not meant by it, nor counted on: that differs between plugins.
        if not there.address:
            return False
        at = ipaddress.ip_address(there.address)
        block = peer["ipBlock"]
        return at in ipaddress.ip_network(block["cidr"]) and not any(
            at in ipaddress.ip_network(e) for e in block.get("except", [])
        )
    if there.address:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": there.namespace}):
            return False
    elif there.namespace != namespace:
        return False
    return _selects(peer.get("podSelector", {}), there.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    for need in selector.get("matchExpressions", []):
        if need["operator"] == "Exists" and need["key"] not in labels:
            return False
        if need["operator"] == "In" and labels.get(need["key"]) not in need["values"]:
            return False
        assert need["operator"] in {"Exists", "In"}, need
    return True
