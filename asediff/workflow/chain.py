"""A chain of stages as data: a YAML file with templates of stages, presets of its numbers, and the graph they make."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from asediff.app.config.errors import ConfigError
from asediff.app.config.load import override, parse_as
from asediff.app.config.schema import Settings
from asediff.app.config.yaml_files import parse_yaml, read_yaml
from asediff.workflow.keys import key_of
from asediff.workflow.stages import KINDS, check_roles, stage
from asediff.workflow.stages.base import JSON, Stage, StageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
"""What pyiron takes as the name of a job."""
LONGEST_NAME = 80
SUFFIXES = (".yaml", ".yml")


class StageSection(Settings):
    """A stage, or several that differ in the values of `each`."""

    kind: str = Field(description=f"one of {', '.join(KINDS)}")
    each: dict[str, Any] = Field(default_factory=dict, description="name -> values: a stage for each, {name} in names")
    parents: dict[str, str | list[str]] = Field(
        default_factory=dict, description="role -> names of stages; * stands for any letters: reference_*"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="of the kind; $name is a value of the preset")


class ChainSection(Settings):
    """A chain of stages."""

    title: str = Field(min_length=1, max_length=200)
    values: dict[str, Any] = Field(default_factory=dict, description="numbers that settings use as $name")
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict, description="other values; the first one is usual")
    stages: dict[str, StageSection] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Node:
    """A stage of a chain.

    Attributes:
        name: in the chain.
        kind: of the stage.
        settings: with all defaults.
        parents: role -> names.
        key: of the stage and all that it depends on.
    """

    name: str
    kind: str
    settings: Mapping[str, JSON]
    parents: Mapping[str, tuple[str, ...]]
    key: str

    @property
    def folder(self) -> str:
        """Of the stage, in a project."""
        return f"{self.name}_{self.key}"


@dataclass(frozen=True, eq=False)
class Chain:
    """Stages in an order in which each follows its parents.

    Attributes:
        title: of the chain.
        preset: that its numbers are from; empty where it has none.
        nodes: the stages.
    """

    title: str
    preset: str
    nodes: tuple[Node, ...]

    @classmethod
    def load(
        cls, name_or_path: str | Path, *, preset: str | None = None, overrides: Mapping[str, JSON] | None = None
    ) -> Chain:
        """Read a chain and check everything that can be told before a stage runs.

        Args:
            name_or_path: of a chain that comes with asediff, such as `water`, or of a YAML file.
            preset: of the chain; its first one by default.
            overrides: `molecules`: 500 for a value of the preset; `diffsim.method.epochs`: 50 for a setting of all
                stages of a kind; `diffsim_288K.method.epochs`: 50 for that of one.

        Raises:
            ConfigError: anything that cannot work, with the file and the key to blame.
        """
        path = chain_file(name_or_path)
        section = read_chain(path)
        return build(section, str(path), preset=preset, overrides=overrides or {})

    def __getitem__(self, name: str) -> Node:
        """A stage by its name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def chains_supplied() -> dict[str, Path]:
    """The chains that come with asediff, by name."""
    package = Path(__file__).resolve().parents[1]
    folders = (package.parent / "workflows", package / "_workflows")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def chain_file(name_or_path: str | Path) -> Path:
    """Path of a chain that comes with asediff, or of the user's own.

    Raises:
        ConfigError: there is no such chain.
    """
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or path.is_file():
        return path
    known = chains_supplied()
    if str(name_or_path) not in known:
        raise ConfigError(
            f"{name_or_path}: not a chain that comes with asediff; give {', '.join(known)}, or the path of a .yaml file"
        )
    return known[str(name_or_path)]


def read_chain(path: Path) -> ChainSection:
    """The sections of a file.

    Raises:
        ConfigError: it is no chain.
    """
    return parse_as(ChainSection, read_yaml(path), str(path))


def build(section: ChainSection, source: str, *, preset: str | None, overrides: Mapping[str, JSON]) -> Chain:
    """The stages of a chain; see `Chain.load`."""
    chosen = _preset(section, source, preset)
    values = {**section.values, **section.presets.get(chosen, {})}
    for name in [name for name in overrides if "." not in name]:
        if name not in values:
            raise ConfigError(f"{name}: no value of {source}{_nearest(name, values)}; a setting is KIND.setting")
        values[name] = overrides[name]
    drafts = _drafts(section, source, values)
    _set(drafts, source, {name: value for name, value in overrides.items() if "." in name})
    order = _ordered(drafts, source)
    nodes: dict[str, Node] = {}
    for name in order:
        draft = drafts[name]
        kind = stage(draft.kind)
        checked = _checked(kind, draft)
        keys = {role: [nodes[parent].key for parent in names] for role, names in draft.parents.items()}
        nodes[name] = Node(name, draft.kind, checked, draft.parents, key_of(kind, checked, keys))
    return Chain(section.title, chosen, tuple(nodes.values()))


def _checked(kind: Stage, draft: _Draft) -> dict[str, JSON]:
    """The settings of a stage with all defaults."""
    try:
        return parse_as(kind.settings, draft.settings, "").model_dump(mode="json")
    except ConfigError as error:
        raise ConfigError(f"{draft.place}.settings.{str(error).removeprefix(':').strip()}") from None


def _preset(section: ChainSection, source: str, preset: str | None) -> str:
    if preset is None:
        return next(iter(section.presets), "")
    if preset not in section.presets:
        known = f"choose one of {', '.join(section.presets)}" if section.presets else "it has none"
        raise ConfigError(f"preset: {preset!r} is not in {source}; {known}")
    return preset


@dataclass
class _Draft:
    """A stage before its settings are checked."""

    kind: str
    settings: dict[str, Any]
    parents: dict[str, tuple[str, ...]]
    place: str


def _drafts(section: ChainSection, source: str, values: Mapping[str, Any]) -> dict[str, _Draft]:
    drafts: dict[str, _Draft] = {}
    patterns: dict[str, dict[str, list[str]]] = {}
    for template, given in section.stages.items():
        place = f"{source}: stages.{template}"
        if given.kind not in KINDS:
            raise ConfigError(f"{place}.kind: {given.kind!r} is unknown{_nearest(given.kind, KINDS)}")
        for bound in _each(given, place, values):
            name = _named(template, bound, place)
            if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
                raise ConfigError(
                    f"{place}: {name!r} is not accepted as a name; give at most {LONGEST_NAME} letters, digits and _, "
                    "a letter first"
                )
            if name in drafts:
                raise ConfigError(f"{place}: a second stage of the name {name!r}; give names that differ")
            settings = _filled(given.settings, {**values, **bound}, f"{place}.settings")
            drafts[name] = _Draft(given.kind, settings, {}, place)
            patterns[name] = {
                role: [_named(text, bound, f"{place}.parents.{role}") for text in _listed(names)]
                for role, names in given.parents.items()
            }
    for name, roles in patterns.items():
        for role, texts in roles.items():
            drafts[name].parents[role] = _found(name, role, texts, drafts)
        place = drafts[name].place
        try:
            check_roles(stage(drafts[name].kind), {role: len(p) for role, p in drafts[name].parents.items()}, place)
        except StageError as error:
            raise ConfigError(str(error)) from None
    return drafts


def _found(name: str, role: str, texts: Sequence[str], drafts: Mapping[str, _Draft]) -> tuple[str, ...]:
    """Names of the stages that the parents of one role stand for."""
    place = f"{drafts[name].place}.parents.{role}"
    rule = stage(drafts[name].kind).roles.get(role)
    found: dict[str, None] = {}
    for text in texts:
        names = [other for other in drafts if other == text or (other != name and fnmatch.fnmatchcase(other, text))]
        if not names:
            raise ConfigError(f"{place}: there is no stage {text!r}{_nearest(text, drafts)}")
        found |= dict.fromkeys(names)
    for other in found:
        if rule is not None and drafts[other].kind not in rule.kinds:
            wanted = " or ".join(rule.kinds)
            raise ConfigError(f"{place}: {other} is of kind {drafts[other].kind}; give a stage of kind {wanted}")
    return tuple(found)


def _each(given: StageSection, place: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The values of `each` that make a stage."""
    lists = _filled(given.each, values, f"{place}.each")
    for name, items in lists.items():
        if not isinstance(items, list) or not items or not all(isinstance(item, str | int | float) for item in items):
            raise ConfigError(f"{place}.each.{name}: {items!r} is not accepted; give a list of numbers or words")
    for chosen in itertools.product(*lists.values()):
        yield dict(zip(lists, chosen, strict=True))


def _named(text: str, bound: Mapping[str, Any], place: str) -> str:
    """A name with the values of `each` in it."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in bound:
            raise ConfigError(f"{place}: {{{match[1]}}} is not one of its `each`; give {match[1]} there, or * for any")
        found = bound[match[1]]
        shown = f"{found:g}" if isinstance(found, float) else str(found)
        return shown.replace(".", "p").replace("-", "m")  # neither is accepted in a name

    return re.sub(r"\{(\w*)\}", value, text)


def _filled(value: Any, values: Mapping[str, Any], place: str) -> Any:
    """A value with `$name` replaced; a whole word only."""
    if isinstance(value, dict):
        return {key: _filled(item, values, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values, f"{place}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in values:
            raise ConfigError(f"{place}: {value} is not among the values of the preset{_nearest(value[1:], values)}")
        return values[value[1:]]
    return value


def _set(drafts: Mapping[str, _Draft], source: str, overrides: Mapping[str, JSON]) -> None:
    """Put other values into the settings of stages."""
    for path, value in overrides.items():
        first = path.partition(".")[0]
        chosen = [name for name, draft in drafts.items() if first in (name, draft.kind)]
        if not chosen:
            known = [*dict.fromkeys(draft.kind for draft in drafts.values()), *drafts]
            raise ConfigError(f"{path}: {first!r} is no stage nor kind of stage of {source}{_nearest(first, known)}")
        for name in chosen:
            changed = override({first: drafts[name].settings}, [f"{path}={json.dumps(value)}"])
            drafts[name].settings = changed[first]


def parse_assignments(texts: Sequence[str]) -> dict[str, JSON]:
    """Overrides from `path=value` of a command line; values are YAML.

    Raises:
        ConfigError: a text is not of that form.
    """
    found = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {text}: not an assignment; write for example --set diffsim.method.epochs=50")
        override({}, [f"value={value}"])  # refuses what is not YAML in the words of other commands
        found[path.strip()] = parse_yaml(value)
    return found


def _ordered(drafts: Mapping[str, _Draft], source: str) -> list[str]:
    """Names such that parents come first, otherwise in the order of the file.

    Raises:
        ConfigError: stages depend on each other.
    """
    order: list[str] = []
    done: set[str] = set()
    waiting = list(drafts)
    while waiting:
        ready = [n for n in waiting if done.issuperset(itertools.chain.from_iterable(drafts[n].parents.values()))]
        if not ready:
            raise ConfigError(f"{source}: stages: {', '.join(waiting)} wait for each other; remove a parent of one")
        order += ready
        done.update(ready)
        waiting = [name for name in waiting if name not in done]
    return order


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; choose one of {', '.join(list(known)[:12])}"
