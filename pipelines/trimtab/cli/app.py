"""`trimtab`: runs a command, and turns errors into a sentence and an exit code.

Exit codes: 0 done · 1 failed · 2 the user's mistake, or refused · 3 cancelled · 4 timed out · 130 interrupted.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

from trimtab.core.errors import TrimtabError


def _serve(words: list[str]) -> bool:
    """Run `serve`, whose start is waited for, without Typer's reading; False where that should read the words."""
    # Hardly anything that imports make is garbage, and looking for it is a twentieth of the start. The server has the
    # collector back once it answers (`serving.process`).
    gc.disable()
    from trimtab.cli.quick import arguments_of
    from trimtab.cli.serve import serve

    arguments = arguments_of(serve, words)
    if arguments is None:
        gc.enable()
        return False
    serve(**arguments)
    return True


def _say(error: TrimtabError) -> None:
    """The error on stderr: as a sentence, or as JSON where the caller asked for JSON."""
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": error.facts()}, ensure_ascii=False) + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text.assemble(("Error: ", "bold red"), error.sentence()))


def _unexpected(error: Exception) -> None:
    """A fault of ours: one sentence, and the traceback in a file that can be sent along."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="trimtab-", suffix=".log")
    with os.fdopen(handle, "w") as file:
        traceback.print_exception(error, file=file)
    sys.stderr.write(
        f"Error: Trimtab met a fault of its own ({type(error).__name__}: {error}). "
        f"The details are in {Path(name)}; please report them.\n"
    )


def main() -> None:
    """Run the command line; never shows a traceback."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        if asked == "serve" and _serve(sys.argv[2:]):
            return
        from trimtab.cli.commands import PANELS, make_app

        make_app(asked if any(asked in names for names in PANELS.values()) else "")()
    except TrimtabError as error:
        _say(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`trimtab history | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last resort, so that no user meets a traceback
        _unexpected(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
