"""pyarrow ships no types: to pyright everything of it is Any, as it is to mypy."""

from typing import Any

def __getattr__(name: str) -> Any: ...
