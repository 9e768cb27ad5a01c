"""What a kind of stage is, and the record of a stage that its folder keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asediff.app.config.schema import Settings
from asediff.host.files import write_whole
from asediff.workflow.results import Results

RECORD = "stage.json"
ERROR = "error.txt"

Say = Callable[[str], None]
JSON = Any
"""What JSON can hold."""


class StageError(ValueError):
    """A stage that cannot run or has failed; one line with the folder, the reason and the remedy."""


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; of a program's log that follows, its own last word on errors."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    told = [line for line in rest if line.startswith("ERROR")]
    return f"{first.rstrip(':')}: {told[-1]}" if told else first.rstrip(":")


@dataclass(frozen=True)
class Role:
    """What a stage takes from another.

    Attributes:
        kinds: of stages that can give it.
        many: any number of stages rather than one.
    """

    kinds: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True)
class Expected:
    """What a stage is expected to take and to leave open, before it runs.

    Attributes:
        seconds: on one core.
        error: of g(r) per bin, standard error as a fraction of 1; None where nothing is sampled.
    """

    seconds: float
    error: float | None = None


@dataclass(frozen=True, eq=False)
class Work:
    """What a stage works with.

    Attributes:
        settings: checked, with all defaults.
        parents: role -> folders of finished stages.
        folder: its own.
        cores: that it may use; no number depends on it.
        say: takes lines for the user.
    """

    settings: Any
    parents: Mapping[str, Sequence[Path]]
    folder: Path
    cores: int
    say: Say


@dataclass(frozen=True)
class Stage:
    """A kind of stage. Its module imports nothing heavy: torch and the like are imported by what `run` calls.

    Attributes:
        kind: name.
        settings: section whose keys are its settings.
        roles: what it takes from other stages.
        run: does the work, goes on where it was interrupted, returns the results.
        expected: from the settings, and those of the parents by role, what the stage takes on one core.
        modules: whose source text decides the numbers; a change of it makes new keys.
        inputs: LAMMPS inputs that come with asediff and decide the numbers, too.
        width: from the settings, how many cores the stage can use.
    """

    kind: str
    settings: type[Settings]
    roles: Mapping[str, Role]
    run: Callable[[Work], Results]
    expected: Callable[[Any, Mapping[str, Sequence[Mapping[str, JSON]]]], Expected]
    modules: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    width: Callable[[Any], int] = lambda _: 1


@dataclass(frozen=True)
class Record:
    """The stage that a folder holds, finished or not: `stage.json`.

    Attributes:
        kind: of the stage.
        settings: with all defaults.
        parents: role -> folders; those beside this one relative to it, so that a project can be moved.
    """

    kind: str
    settings: Mapping[str, JSON]
    parents: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path) -> Record:
        """Read the record of a folder.

        Raises:
            StageError: there is none.
        """
        folder = Path(folder)
        try:
            values = json.loads((folder / RECORD).read_text())
            parents = {
                role: tuple((folder / name).resolve() for name in names) for role, names in values["parents"].items()
            }
            return cls(values["kind"], values["settings"], parents)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise StageError(
                f"{folder}: holds no stage ({RECORD} is missing or damaged); give the folder of one"
            ) from None

    def write(self, folder: Path) -> None:
        """Write it.

        Raises:
            FileError: the system refused.
        """
        top = folder.resolve().parent
        parents = {
            role: [_relative(path.resolve(), folder.resolve(), top) for path in paths]
            for role, paths in self.parents.items()
        }
        values = {"kind": self.kind, "settings": self.settings, "parents": parents}
        write_whole(folder / RECORD, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())

    def same(self, other: Record) -> bool:
        """Whether both are the same stage: of one kind, with the same settings."""
        return (self.kind, self.settings) == (other.kind, other.settings)


def _relative(path: Path, folder: Path, top: Path) -> str:
    return f"../{path.relative_to(top)}" if path.is_relative_to(top) and path != folder else str(path)
