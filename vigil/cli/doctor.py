"""`vigil doctor`."""

from rich.text import Text

from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, configured
from vigil.cli.output import print_json, stdout
from vigil.doctor import Check, Status, diagnose
from vigil.errors import CheckError

__all__ = ["command"]

MARKS = {Status.OK: ("ok  ", "green"), Status.WARNING: ("warn", "yellow"), Status.FAILED: ("FAIL", "bold red")}


def command(
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Check everything a worker and the alert service need.

    Looks at the settings, Kafka, the topics (are they there, do partitions fit, is what must be kept compacted), Redis,
    the models and the extras, and says for each thing that is wrong how to mend it. Exits with 1 when a worker could
    not run; warnings alone exit with 0.
    """
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    checks: list[Check] = []
    for check in diagnose(settings):
        checks.append(check)
        if not json:
            _show(check)
    if json:
        print_json(checks)
    failed = [check.name for check in checks if check.status is Status.FAILED]
    if failed:
        raise CheckError(f"a worker cannot run: {', '.join(failed)}", hint="mend what is marked FAIL, then ask again")


def _show(check: Check) -> None:
    mark, style = MARKS[check.status]
    stdout.print(Text.assemble((mark, style), "  ", (check.name, "bold"), f"  {check.detail}"), soft_wrap=True)
    if check.fix:
        stdout.print(Text(f"      fix: {check.fix}", "dim"), soft_wrap=True)
