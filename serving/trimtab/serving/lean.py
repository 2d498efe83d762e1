"""uvicorn without its command line.

`import uvicorn` brings click, the reloader and multiprocessing, which a server that is started by our own command never
uses: an eighth of its start. Here the package is put in place without running its `__init__`, and its parts are
imported as they are; what that file would have offered comes when it is asked for.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn import Config, Server


def uvicorn_parts() -> tuple[type[Config], type[Server]]:
    """Uvicorn's `Config` and `Server`; to be called before anything else imports a part of uvicorn."""
    if "uvicorn" not in sys.modules:
        _place()
    from uvicorn.config import Config
    from uvicorn.server import Server

    package: Any = sys.modules["uvicorn"]
    package.Config, package.Server = Config, Server
    return Config, Server


def _place() -> None:
    spec = importlib.util.find_spec("uvicorn")
    if spec is None:
        raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
    package: ModuleType = importlib.util.module_from_spec(spec)

    def rest(name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        assert spec is not None
        assert spec.loader is not None
        del package.__dict__["__getattr__"]
        spec.loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = rest
    sys.modules["uvicorn"] = package
