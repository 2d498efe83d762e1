"""Which version answers: champion, or the canary for its share, the same one for the same key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from trimtab.core.errors import RequestError
from trimtab.serving.limits import Limits
from trimtab.serving.model import LoadedModel


def bucket(version: str, key: bytes) -> int:
    """Where a key falls for this canary, 0 to 9999: evenly spread, the same for ever.

    A key's place differs between canaries, so the same clients are not always the first to try one. Raising the
    share keeps the keys that were in.

    >>> bucket("v2-0a1b2c3d", b"customer-17") == bucket("v2-0a1b2c3d", b"customer-17")
    True
    """
    digest = hashlib.blake2b(key, digest_size=8, key=version.encode()[:64]).digest()
    return int.from_bytes(digest, "big") % 10_000


@dataclass(frozen=True)
class Traffic:
    """What serves at one moment; replaced whole, so a request sees one state and keeps its model to its end.

    Attributes:
        champion, canary: the loaded versions, or none.
        percent: the canary's share of the requests.
        why: why nothing serves, while there is no champion.
        shadow: the loaded version that is asked beside them; it answers no request.
    """

    champion: LoadedModel | None = None
    canary: LoadedModel | None = None
    percent: int = 0
    why: str = "the server is starting"
    shadow: LoadedModel | None = None

    @cached_property
    def body_bytes(self) -> int:
        """The largest body that a version which serves takes; the default while none does."""
        serving = [model.limits for model in (self.champion, self.canary) if model is not None]
        return max(limits.body_bytes for limits in serving or [Limits()])

    @property
    def auths(self) -> list[str]:
        """What the projects of the versions that serve say about API keys."""
        return [model.limits.auth for model in (self.champion, self.canary) if model is not None]

    @property
    def page(self) -> bool:
        """Whether the page is served: as the champion's project says."""
        return self.champion is None or self.champion.limits.page

    def choose(self, key: bytes) -> tuple[LoadedModel, int]:
        """The version for this key and the percent of the traffic that it has.

        Raises:
            RequestError: 503, no version serves yet.
        """
        canary = self.canary
        if canary is not None and bucket(canary.version, key) < self.percent * 100:
            return canary, self.percent
        if self.champion is None:
            raise self.not_ready()
        return self.champion, 100 - self.percent if canary is not None else 100

    def named(self, version: str) -> tuple[LoadedModel, int]:
        """A version that the client asked for by name.

        Raises:
            RequestError: 404, it does not serve here.
        """
        for model, share in ((self.champion, 100 - self.percent), (self.canary, self.percent)):
            if model is not None and model.version == version:
                return model, share if self.canary is not None else 100
        raise RequestError(
            404,
            "this version does not serve here",
            object=version[:100],
            expected=" or ".join(self.versions) or "none yet",
            got="another version",
        )

    @property
    def versions(self) -> list[str]:
        """The versions that serve, champion first."""
        return [model.version for model in (self.champion, self.canary) if model is not None]

    def not_ready(self) -> RequestError:
        """The refusal while no version serves."""
        return RequestError(503, f"the model is not ready: {self.why}")
