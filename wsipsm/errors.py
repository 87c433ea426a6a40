"""The one error tree: what a user can do wrong, and what data can."""


class WsipsmError(Exception):
    """A mistake that one sentence explains: where, what, what to do."""

    exit_code = 1


class SettingsError(WsipsmError):
    """Usage, configuration, slide sheet or weights are wrong (exit code 2)."""

    exit_code = 2


class DataError(WsipsmError):
    """A slide or a product cannot be used (exit code 1); the workflow quarantines it."""


class QuarantinedError(DataError):
    """An input product stands for a slide that was set aside earlier."""
