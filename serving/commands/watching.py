"""Long work at a terminal: what it is doing while it does it, what came of it, and how to find it again.

Ctrl-C ends the waiting and nothing else.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.commands.common import AsJson, Config, NoWait, Url, models_at, print_json
from serving.errors import ControlError

if TYPE_CHECKING:
    from serving.control.models_client import ModelsClient, OperationAnswer

    Begins = Callable[[ModelsClient], OperationAnswer]


def waiting(read: Callable[..., "Begins"]) -> Callable[..., None]:
    """The command that begins long work, waits for its end unless --no-wait says otherwise, and shows it.

    Args:
        read: takes what was typed, refuses what can be refused before anybody is asked, and returns what begins the
            work at a client. The options that all such commands share come after its own.
    """

    def command(
        *, no_wait: NoWait = False, url: Url = None, config: Config = None, as_json: AsJson = False, **typed: object
    ) -> None:
        begin = read(**typed)
        with models_at(url, config) as models:
            finish(models, begin(models), wait=not no_wait, as_json=as_json)

    shared = [one for one in inspect.signature(command).parameters.values() if one.kind is one.KEYWORD_ONLY]
    every = [*inspect.signature(read).parameters.values(), *shared]
    functools.update_wrapper(command, read)
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in every}
    return command


def finish(client: "ModelsClient", begun: "OperationAnswer", *, wait: bool, as_json: bool) -> None:
    """Waits for the end of what was begun, and shows it.

    Args:
        client: of the API that runs it.
        begun: what it answered.
        wait: whether to wait at all.
        as_json: whether to print the operation and nothing else.

    Raises:
        ControlError: it failed; or somebody pressed Ctrl-C, and it goes on.
    """
    ended = _watched(client, begun) if wait else begun
    if as_json:
        print_json({**ended})
        return
    from serving.tables import show_result  # noqa: PLC0415 - slow to import

    show_result(ended)


def _watched(client: "ModelsClient", begun: "OperationAnswer") -> "OperationAnswer":
    from rich.console import Console  # noqa: PLC0415 - slow to import

    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    try:
        if not sys.stderr.isatty():
            return client.watch(begun, lambda line: console.print(f"{line} …", soft_wrap=True))
        with console.status(f"{begun['kind']} of {begun['model']} …") as status:
            return client.watch(begun, lambda line: status.update(f"{line} …"))
    except KeyboardInterrupt:
        raise ControlError(
            f"nobody waits any more, and the {begun['kind']} of {begun['model']} goes on",
            f"look at it with `sluice operations show {begun['id']}`; `sluice operations cancel` and that id ends it",
        ) from None
