"""`sluice keys`: who may use this installation, and as what.

The commands themselves show a key to the API where it asks for one: SLUICE_KEY_FILE names a file that holds it, or
SLUICE_KEY holds it. It is never an argument, for those are for every user of a machine to read.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.access.roles import Role
from serving.commands.common import AsJson, Config, Url, Why, client, print_json
from serving.commands.given import size

if TYPE_CHECKING:
    from serving.control.client import Acknowledged
    from serving.control.keys_client import MadeAnswer

app = typer.Typer(
    help="Make, list and revoke API keys. Where the API asks for one: SLUICE_KEY_FILE or SLUICE_KEY.",
    no_args_is_help=True,
)

_ID = re.compile(r"[0-9a-f]{12}")
_WHOLE_KEY = re.compile(r"sluice_([0-9a-f]{12})_.*", re.DOTALL)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of whom or what the key is for.")],
    *,
    role: Annotated[Role, typer.Option(help="What it is good for; each includes those before it.")],
    model: Annotated[list[str] | None, typer.Option(help="Only this model; may be repeated. (predict only)")] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME|DATE", help="Such as 90d, 12h or 2030-01-31.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Requests per second, over all gateways.")] = None,
    burst: Annotated[int | None, typer.Option(min=1, help="Requests at once. (default: one second's worth)")] = None,
    in_flight: Annotated[int | None, typer.Option(min=1, help="Requests that may be unanswered at once.")] = None,
    max_body: Annotated[str | None, typer.Option(metavar="SIZE", help="Of one request, such as 1MB or 64KiB.")] = None,
    url: Url = None,
    config: Config = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it. It is shown this once; only a digest of it is kept."""
    limits = {
        "rate_per_s": rate,
        "burst": burst,
        "in_flight": in_flight,
        "max_body": size("--max-body", max_body),
    }
    body: dict[str, Any] = {"name": name, "role": role.value, "models": model or None, "expires": expires}
    body["limits"] = {limit: value for limit, value in limits.items() if value is not None}
    from serving.control.keys_client import KeysClient  # noqa: PLC0415 - brings httpx, as all below

    with client(url, config) as control:
        made = KeysClient(control).create(body)
    if as_json:
        print_json({**made})
        return
    typer.echo(made["key"])
    if not quiet:
        _tell_of(made)


@app.command("list")
def list_(
    *,
    ended: Annotated[bool, typer.Option("--all", help="Also what was revoked or has expired within 30 days.")] = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the keys: whose, for what, until when."""
    from serving.control.keys_client import KeysClient  # noqa: PLC0415

    with client(url, config) as control:
        answer = KeysClient(control).keys(ended=ended)
    if as_json:
        print_json({**answer})
        return
    from serving.key_tables import show_keys  # noqa: PLC0415 - slow to import

    show_keys(answer)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Of the key, as `sluice keys list` shows it.")],
    *,
    why: Why = "",
    force: Annotated[bool, typer.Option("--force", help="Even the last one that administers.")] = False,
    wait_s: Annotated[float, typer.Option(min=0, max=30, help="How long to wait for the gateways, seconds.")] = 5.0,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take a key back, and wait until every gateway knows. Doing it again asks those that did not."""
    from serving.control.keys_client import KeysClient  # noqa: PLC0415

    with client(url, config) as control:
        done = KeysClient(control).revoke(_id_in(key), why=why, force=force, wait_s=wait_s)
    if as_json:
        print_json({**done})
    else:
        known = done["acknowledged"]
        who = f"{known['by']} of {known['of']} gateway workers know"
        typer.echo(f"key {done['name']} ({done['id']}) is revoked; {who} ({done['took_ms']:.0f} ms)")
    _refuse_unknown(done["acknowledged"])
    if done["durable"] is False:
        typer.echo("warning: the store did not confirm that this is on disk; it may be lost if it fails now", err=True)


@app.command()
def whoami(*, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show whom the API takes the caller for."""
    from serving.control.keys_client import KeysClient  # noqa: PLC0415

    with client(url, config) as control:
        answer = KeysClient(control).whoami()
    if as_json:
        print_json({**answer})
        return
    from serving.key_tables import show_caller  # noqa: PLC0415

    show_caller(answer)


@app.command()
def generate(*, quiet: Quiet = False) -> None:
    """Print a key for access.admin_key_file, without asking anybody."""
    from serving.access.keys import create as new  # noqa: PLC0415

    typer.echo(new().text)
    if not quiet:
        typer.echo("Put it into a file that you alone may read (umask 077), and name that as access.admin_key_file;"
                   " it administers from the next start on.", err=True)  # fmt: skip


def _tell_of(made: "MadeAnswer") -> None:
    until = f" until {made['expires']}" if made["expires"] else ""
    whose = f"key {made['name']} ({made['id']}) may {made['role']}{until}"
    typer.echo(f"{whose}. It is shown this once: keep it now.", err=True)
    late = [*made["acknowledged"]["waiting"], *made["acknowledged"]["expired"]]
    if late:
        typer.echo(f"warning: it is not known yet at {', '.join(late)}", err=True)
    if not made["durable"]:
        typer.echo("warning: the store did not confirm that it is on disk; it may be lost if it fails now", err=True)


def _refuse_unknown(known: "Acknowledged") -> None:
    """Whoever revokes a key must not go home while somebody still takes it."""
    from serving.errors import ControlError  # noqa: PLC0415

    if known["expired"]:
        names = ", ".join(known["expired"])
        typer.echo(f"warning: {names} went silent and may still run: see that the process has ended", err=True)
    if known["waiting"]:
        names = ", ".join(known["waiting"])
        raise ControlError(
            f"the key is revoked, and {names} has not said yet that it knows", "repeat the command to ask again"
        )


def _id_in(text: str) -> str:
    """The id; of a whole key only its id is sent anywhere."""
    whole = _WHOLE_KEY.fullmatch(text)
    said = whole[1] if whole else text
    if not _ID.fullmatch(said):
        raise typer.BadParameter("that is no id of a key: `sluice keys list` shows them")
    return said
