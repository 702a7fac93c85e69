"""`vigil config show` and `vigil config check`."""

import typer
from rich.table import Table
from rich.text import Text

from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, configured
from vigil.cli.output import print_json, stdout

__all__ = ["app"]

app = typer.Typer()


@app.command("show")
def show(
    config: ConfigOption = None,
    set_: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    json: JsonOption = False,
) -> None:
    """Show every setting, its value (secrets as stars), and where the value came from."""
    rows = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).rows()
    if json:
        print_json([row._asdict() for row in rows])
        return
    table = Table("setting", "value", "from", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        style = "dim" if row.origin == "default" else ""
        table.add_row(Text(row.name), Text("" if row.value is None else str(row.value)), Text(row.origin), style=style)
    stdout.print(table)


@app.command("check")
def check(config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False) -> None:
    """Check the settings; exit 2 and say what is wrong when they cannot be used."""
    configuration = configured(config, set_)
    changed = len(configuration.origins)
    if json:
        print_json({"valid": True, "changed": changed})
        return
    stdout.print(f"[green]valid[/green]: {changed} values given, the others are the defaults")
