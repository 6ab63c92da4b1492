"""The errors a user can act on."""


class RecdlError(Exception):
    """Base of every error that recdl raises on purpose."""


class DataError(RecdlError):
    """The log, or what was asked of it, cannot be used as it is."""


class ConfigError(RecdlError):
    """A setting is misspelt, of the wrong type, or does not fit the others."""


class RecordError(RecdlError):
    """A prepared folder, run record or bundle is missing, damaged or half written."""
