"""`dead`: the desk for what could not be delivered. Arguments and printing only."""

import typer

app = typer.Typer(help="What could not be delivered: why, and what to do.", invoke_without_command=True)


@app.callback()
def groups(context: typer.Context) -> None:
    """Show dead letters in groups by their cause, worst first."""
    if context.invoked_subcommand is not None:
        return
