"""What to write next, so that the cluster comes to serve what the ledger says. Pure, and therefore safe to repeat.

One write at a time, each from what is there now and never from memory, so that the process may die before or after
any of them. The states, by what the resource says; the stable version is S, another is V:

| the resource | the ledger says | comes next, once … | if that does not come |
|---|---|---|---|
| nothing | S serves | S | told: there is nothing to go back to |
| S | V is tried, or takes over | V beside it, 0 %, in the dark | – |
| S, V 0 % | V is in the shadow | nothing | pods late: refused; judge undecided in time: rejected |
| S, V | V is tried at p % | as many pods; p %, once all of V's answer; nothing, once the weights stand | the same |
| S, V | V serves | as many pods; 100 %, once all of V's answer; V alone, once the weights stand | pods late: refused |
| S, V | S serves, V left | 0 %; S alone, once the weights stand | told, and waited for: S answers |
| S, V | S serves, W is tried | the same, then W | the same |

A line's writes come one after the other, and each is left out where it is done. `refused` and `rejected` are entries
that the controller writes into the ledger (pods late: `observe.Patience`; judge undecided: `rollout.max_minutes`); the
ledger then says that S serves, which is the way back from everywhere. Weights that do not come are the gateway's
trouble, no version's: what answers goes on answering, and it is told what is waited for.

The order is measured: a promotion straight from 10 % fails requests, and so does removing a canary that has a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Want:
    """What the ledger says: the champion, and the version that is tried with its share (0 in the shadow)."""

    champion: str | None
    tried: str | None = None
    percent: int = 0


@dataclass(frozen=True)
class Track:
    """One version on the cluster.

    Attributes:
        version: which; its storageUri says so.
        name: `predictor.name`; empty for the unnamed one.
        replicas: `minReplicas`.
        percent: its share, of a canary.
        runtime: its ServingRuntime; empty takes the present one.
    """

    version: str
    name: str
    replicas: int = 1
    percent: int = 0
    runtime: str = ""


@dataclass(frozen=True)
class Live:
    """The InferenceService as it is: the stable version, and a canary."""

    stable: Track | None = None
    canary: Track | None = None


@dataclass(frozen=True)
class Seen:
    """What the cluster does.

    Attributes:
        available: version → available pods.
        weights: version → share of the requests that the route gives it; None where there is no route with weights.
        settled: whether the weights have stood long enough for every proxy to have them.
    """

    available: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] | None = None
    settled: bool = False

    def share(self, version: str) -> int | None:
        """The share that the route gives a version; None where there is no route."""
        return None if self.weights is None else self.weights.get(version, 0)


@dataclass(frozen=True)
class Move:
    """What comes next.

    Attributes:
        kind: `write` (the InferenceService is to become `to`), `wait`, or `done`.
        words: what is done or waited for.
        to: what to write.
    """

    kind: Literal["write", "wait", "done"]
    words: str
    to: Live | None = None


def next_move(want: Want, live: Live, seen: Seen, replicas: Mapping[str, int]) -> Move:
    """The next move with shares.

    Args:
        want: what the ledger says.
        live: the resource as it is.
        seen: what the cluster does.
        replicas: version → pods that it is to have when it serves.

    >>> next_move(Want("v1-a"), Live(), Seen(), {"v1-a": 2}).words
    'v1-a is made the stable version, 2 pods'
    """
    champion = want.champion
    if champion is None:
        return Move("done", "nothing is promoted yet")
    if live.stable is None:
        to = Live(Track(champion, champion, replicas[champion]))
        return Move("write", f"{champion} is made the stable version, {_pods(replicas[champion])}", to)
    if live.stable.version != champion and live.stable.name == champion:
        # Somebody changed the storageUri below the name of the version: its pods are to be what they are called.
        to = replace(live, stable=replace(live.stable, version=champion))
        return Move("write", f"{champion} has its own storageUri again", to)
    if live.stable.version == champion:
        tried = want.tried if want.tried != champion else None
        return _try(live, seen, tried, want.percent, replicas)
    return _take_over(live, seen, champion, replicas)


def replacing_move(want: Want, live: Live, seen: Seen, replicas: Mapping[str, int]) -> Move:
    """The next move where requests cannot be split: one change of storageUri, rolled out pod by pod.

    Args:
        want: what the ledger says; a version that is tried stays in the shadow.
        live: the resource as it is.
        seen: what the cluster does.
        replicas: version → pods that it is to have when it serves.
    """
    champion = want.champion
    if champion is None:
        return Move("done", "nothing is promoted yet")
    pods = replicas[champion]
    if live.stable is None:
        return Move("write", f"{champion} is made the stable version, {_pods(pods)}", Live(Track(champion, "", pods)))
    if live.canary is not None:
        return _remove(live, seen, live.canary)
    if live.stable.version != champion:
        to = Live(Track(champion, live.stable.name, pods))
        return Move("write", f"{champion} replaces {live.stable.version}, pod by pod", to)
    if live.stable.replicas != pods:
        return Move("write", f"{champion} gets {_pods(pods)}", Live(replace(live.stable, replicas=pods)))
    if seen.available.get(champion, 0) < pods:
        return Move("wait", f"{champion}: {seen.available.get(champion, 0)} of {_pods(pods)} available")
    return Move("done", f"{champion} serves with {_pods(pods)}")


def _try(live: Live, seen: Seen, tried: str | None, percent: int, replicas: Mapping[str, int]) -> Move:
    """The champion is the stable version; another is tried, or none."""
    stable, canary = live.stable, live.canary
    assert stable is not None
    usual = replicas[stable.version]
    if canary is not None and canary.version != tried:
        return _remove(live, seen, canary)
    if tried is None:
        if stable.replicas != usual:
            return Move("write", f"{stable.version} has {_pods(usual)}", Live(replace(stable, replicas=usual)))
        return _serves(stable, seen)
    if canary is None:
        return _dark(live, tried, 1, replicas)
    pods = replicas[tried] if percent else 1
    if canary.percent > percent:
        return _share(live, percent, f"{tried} goes down to {percent} %")
    if pods < canary.replicas:
        if (seen.share(tried) or 0) > percent or not seen.settled:
            return Move("wait", f"the route still gives {tried} {seen.share(tried)} %")
        return _sized(live, pods, replicas)
    if pods > canary.replicas or stable.replicas != _beside(usual, canary.replicas):
        return _sized(live, pods, replicas)
    ready = seen.available.get(tried, 0)
    if ready < pods:
        return Move("wait", f"{tried}: {ready} of {_pods(pods)} available")
    if canary.percent < percent:
        return _share(live, percent, f"{tried} gets {percent} % of the requests")
    return _weighed(seen, tried, percent) or Move("done", f"{tried} answers {percent} % with {_pods(pods)}")


def _take_over(live: Live, seen: Seen, champion: str, replicas: Mapping[str, int]) -> Move:
    """The champion is not the stable version yet."""
    canary = live.canary
    pods = replicas[champion]
    if canary is not None and canary.version != champion:
        return _remove(live, seen, canary)
    if canary is None:
        return _dark(live, champion, pods, replicas)
    if canary.replicas != pods:
        return _sized(live, pods, replicas)
    ready = seen.available.get(champion, 0)
    if ready < pods:
        return Move("wait", f"{champion}: {ready} of {_pods(pods)} available")
    if canary.percent != 100:
        return _share(live, 100, f"{champion} gets all requests")
    waiting = _weighed(seen, champion, 100)
    if waiting is not None:
        return waiting
    to = Live(Track(champion, canary.name, pods, runtime=canary.runtime))
    return Move("write", f"{champion} is promoted, its pods stay as they are", to)


def _dark(live: Live, version: str, pods: int, replicas: Mapping[str, int]) -> Move:
    assert live.stable is not None
    stable = replace(live.stable, replicas=_beside(replicas[live.stable.version], pods))
    # The name may be taken, where somebody changed the storageUri below it.
    name = version if stable.name != version else f"{version}-again"
    to = Live(stable, Track(version, name, pods))
    return Move("write", f"{version} is started in the dark, {_pods(pods)}", to)


def _sized(live: Live, pods: int, replicas: Mapping[str, int]) -> Move:
    assert live.stable is not None
    assert live.canary is not None
    usual = replicas[live.stable.version]
    to = Live(replace(live.stable, replicas=_beside(usual, pods)), replace(live.canary, replicas=pods))
    return Move("write", f"{live.canary.version} gets {_pods(pods)}", to)


def _share(live: Live, percent: int, words: str) -> Move:
    assert live.canary is not None
    return Move("write", words, replace(live, canary=replace(live.canary, percent=percent)))


def _remove(live: Live, seen: Seen, canary: Track) -> Move:
    """First no share, then no weight, then no pods: removed with a share, it would take requests with it."""
    assert live.stable is not None
    if canary.percent:
        return _share(live, 0, f"{canary.version} goes: 0 % first")
    if seen.share(canary.version):
        return Move("wait", f"{canary.version} goes: the route still gives it {seen.share(canary.version)} %")
    if not seen.settled:
        return Move("wait", f"{canary.version} goes: its last requests are answered")
    return Move("write", f"{canary.version} is removed", Live(live.stable))


def _weighed(seen: Seen, version: str, percent: int) -> Move | None:
    """What is waited for until a version has its share; None where it has."""
    share = seen.share(version)
    if share is None:
        return Move("wait", f"{version}: there is no HTTPRoute with weights")
    if share != percent:
        return Move("wait", f"{version} is to get {percent} %, the route gives it {share} %")
    return None if seen.settled else Move("wait", f"{version} gets {percent} %: every proxy is to have it")


def _serves(stable: Track, seen: Seen) -> Move:
    ready = seen.available.get(stable.version, 0)
    if ready < stable.replicas:
        return Move("wait", f"{stable.version}: {ready} of {_pods(stable.replicas)} available")
    if (waiting := _weighed(seen, stable.version, 100)) is not None:
        return waiting
    return Move("done", f"{stable.version} serves with {_pods(stable.replicas)}")


def _beside(usual: int, canary: int) -> int:
    """`minReplicas` of the stable version beside a canary.

    KServe takes the canary's pods from the stable version's, which keeps at least one: so many more are asked for.

    >>> _beside(3, 3), _beside(1, 1), _beside(1, 2)
    (6, 1, 3)
    """
    return usual if usual == 1 and canary <= 1 else usual + canary


def _pods(n: int) -> str:
    return "1 pod" if n == 1 else f"{n} pods"
