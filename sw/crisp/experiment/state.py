"""What of an experiment is done: a file for each run, written when it is complete."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crisp.prune import PruneOptions
from crisp.report import write_json

from .errors import ExperimentError
from .grid import Run
from .locks import holder
from .records import Record

__all__ = ["FOLDER", "State", "changed_settings", "settings_words"]

#: Where experiments keep what is done, below the current folder.
FOLDER = Path("build/experiments")


class State:
    """The folder of an experiment.

    Parameters
    ----------
    folder : Path
        Where it is; made when something is written.
    known : iterable of Record
        Records that came from elsewhere: they count where the folder has none.
    """

    def __init__(self, folder: Path, known: Iterable[Record] = ()) -> None:
        self.folder = folder
        self.known = {record.get("key"): dict(record) for record in known}

    def record_path(self, run: Run) -> Path:
        """Return the file of a run that is done."""
        return self.folder / "runs" / f"{run.key}.json"

    def lock_path(self, run: Run) -> Path:
        """Return the file by which a process takes a run for itself."""
        return self.folder / "locks" / f"{run.key}.lock"

    def read(self, run: Run) -> dict[str, Any] | None:
        """Return the record of a run; none where it is not done."""
        for record in (self.stored(run), self.known.get(run.key)):
            if record is not None and counts(run, record):
                return record
        return None

    def stored(self, run: Run) -> dict[str, Any] | None:
        """Return the record that the folder has of a run, whether it counts or not.

        Raises
        ------
        ExperimentError
            When the file is damaged.
        """
        path = self.record_path(run)
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:  # neither JSON nor text
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("options"), dict):
            raise ExperimentError(f"{path}: must be the record of a run, not something damaged; delete it, and the run is done again")
        return record

    def write(self, run: Run, record: dict[str, Any]) -> None:
        """Keep the record of a run."""
        write_json(self.record_path(run), record)

    def adopt(self, runs: Iterable[Run]) -> int:
        """Keep the records that came from elsewhere, of those of ``runs`` that are not done here; return how many."""
        own = State(self.folder)
        adopted = [(run, record) for run in runs if own.read(run) is None and (record := self.read(run)) is not None]
        for run, record in adopted:
            self.write(run, record)
        return len(adopted)

    def records(self, runs: Iterable[Run]) -> list[dict[str, Any]]:
        """Return the records of those runs that are done, each with the run's key."""
        return [{**record, "key": run.key} for run in runs if (record := self.read(run)) is not None]

    def worker(self, run: Run) -> str:
        """Return the number of the process that works on a run; empty where none does."""
        return holder(self.lock_path(run))


#: Settings that a run's level decides, and its configuration, which the key has by what it says.
LEVEL = ("sparsity", "cycles", "config")
#: Settings that every run has its own of.
OF_RUN = (*LEVEL, "seed")


def changed_settings(options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that ``others`` have not so, but for those that every run has its own of."""
    return {name: value for name, value in options.items() if name not in OF_RUN and value != others.get(name)}


def settings_words(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as an experiment file has them, a word each."""
    return [f"{name} = {json.dumps(value)}" for name, value in settings.items()]


def counts(run: Run, record: Record) -> bool:
    """Return whether a record with the key of ``run`` is what the run would give.

    The key has those settings that differ from the library's. A record counts no longer when the library's own have changed since; a
    setting that did not exist then does not matter.
    """
    was, now, known = record["options"], run.options.to_dict(), PruneOptions().to_dict()
    return all(was[name] == now.get(name) for name in was if name in known and name not in LEVEL)
