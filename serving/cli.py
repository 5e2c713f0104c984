"""The `sluice` command: what a person types, and nothing else. Its groups of commands are `commands/`.

Each command reads its arguments, asks one other module to do the work, and shows what came of it. Exit codes: 0 done,
1 refused or failed (a sentence and a hint on stderr), 2 wrong usage. Whatever is slow to import is imported by the
command that needs it, so that `sluice --help` is there at once.
"""

import sys
from typing import Annotated

import typer

from serving.commands import (
    draining,
    drift,
    feedback,
    keys,
    loadtest,
    models,
    operations,
    payloads,
    planning,
    replaying,
    rollout_starting,
    rollouts,
    simulating,
    stops,
    traffic,
    trainer,
)
from serving.commands.common import AsJson, Config, StateDir, Url, client, print_json, settings_from
from serving.errors import SluiceError

app = typer.Typer(
    help="A model-serving gateway with a traffic-splitting router.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(drift.app, name="drift")
app.add_typer(feedback.app, name="feedback")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(operations.app, name="operations")
app.add_typer(payloads.app, name="payloads")
app.add_typer(rollouts.app, name="rollout")
app.add_typer(traffic.app, name="traffic")
app.command()(traffic.explain)
app.command()(planning.plan)
app.command()(simulating.simulate)
app.command()(rollout_starting.apply)
app.command()(replaying.replay)
app.command()(stops.stop)
app.command()(draining.drain)
app.command(context_settings=loadtest.PASSED_ON)(loadtest.loadtest)
app.command(context_settings=trainer.PASSED_ON)(trainer.trainer)


def main() -> None:
    """The entry point: runs the command, and turns our own errors into a sentence, a hint and exit code 1."""
    try:
        app(prog_name="sluice")
    except SluiceError as error:
        typer.echo(f"error: {error.sentence}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)


@app.command()
def up(
    *,
    config: Config = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False,
    host: Annotated[str | None, typer.Option(help="Address for predictions; 0.0.0.0 is every one.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port for predictions; 0 is any free one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="The same for gRPC.")] = None,
    control_host: Annotated[str | None, typer.Option(help="Address of the control API.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the control API; 0 is any free one.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Start everything on this machine, and stay until Ctrl-C."""
    given = {
        "listen.host": host, "listen.http_port": http_port, "listen.grpc_port": grpc_port,
        "control.host": control_host, "control.port": port,
    }  # fmt: skip
    settings = settings_from(config, state_dir, given)
    from serving import local  # noqa: PLC0415 - brings Ray

    local.up(settings, detach=detach)


@app.command()
def down(*, config: Config = None, state_dir: StateDir = None) -> None:
    """Stop what `up` has started from this folder."""
    settings = settings_from(config, state_dir)
    from serving import local  # noqa: PLC0415 - brings Ray

    local.down(settings)


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end instead of staying up.")] = False,
    drift: Annotated[
        bool, typer.Option("--drift", help="Show how a shift is found, trained for and rolled out: minutes.")
    ] = False,
) -> None:
    """Train two versions of a model, serve them, and send requests through the split."""
    if drift:
        from serving.demo import drifting  # noqa: PLC0415 - brings torch

        drifting.run(once=once)
        return
    from serving.demo import show  # noqa: PLC0415 - brings torch

    show.run(once=once)


@app.command()
def status(*, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show models, gateways and what they run."""
    with client(url, config) as control:
        answer = control.status()
    if as_json:
        print_json({**answer})
        return
    from serving.tables import show_status  # noqa: PLC0415 - slow to import, as all below

    show_status(answer)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415

    typer.echo(installed("sluice-gateway"))


if __name__ == "__main__":
    main()
