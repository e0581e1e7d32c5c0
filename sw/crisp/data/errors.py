"""What can be wrong with a data set on disk or on its way there."""

from pathlib import Path

from crisp.arch.errors import CrispError

__all__ = ["DamagedDataError", "DataError", "DownloadError", "MissingDataError"]


class DataError(CrispError):
    """A data set cannot be used.

    Parameters
    ----------
    file : str or Path
        File, folder or address at fault.
    rule : str
        What holds for a sound one.
    value : object
        What was found instead.
    remedy : str
        What the user can do.
    """

    def __init__(self, file: str | Path, *, rule: str, value: object, remedy: str) -> None:
        self.file, self.rule, self.value, self.remedy = file, rule, value, remedy
        super().__init__(f"{file}: {rule}, not {value}; {remedy}")


class MissingDataError(DataError):
    """A file or folder that must be there is not."""


class DamagedDataError(DataError):
    """A file is there but is truncated, corrupt, or something else."""


class DownloadError(DataError):
    """A file could not be fetched, or what came is not what was asked for."""
