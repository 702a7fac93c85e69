"""The command line, one module a command or group; a module is imported when its command runs."""

__all__: list[str] = []
