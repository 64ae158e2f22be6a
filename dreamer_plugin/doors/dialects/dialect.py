"""What other documents call our settings: one file of `names/` for each of these dialects.

    names:
      their_name: our.key                  or plan.<number>, from which several of ours follow
                  {to: our.key, as: form}  a function of forms.py turns the value into ours
                  {every: [our.key, ...]}  the general word; a particular one wins over it
                  {only: value, else: why} another value is refused
                  {ignored: why}           taken, and said to do nothing
                  {v1: ..., v2: ...}       by the agent's version, refused where it is not named
    presets:   version -> preset in configs/reference, or agent
    unit:      simulator or agent: what a step is, where an action is repeated
    kl:        version -> which half the balance weighs, see plan.py
    pixels:    suites that are seen as images where there is a choice, or all
    prefixes:  beginning of a name -> suite that the rest is an option of
    defaults:  version -> what the document says is the default; the preset has the same
    implied:   version -> numbers it leaves open and others follow from

Keys of ours, with their dots, are understood in every dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dreamer_plugin.config.fields import OPTIONS, key_types
from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.doors.dialects.forms import FORMS, version
from dreamer_plugin.errors import UsageError, nearest

FOLDER = Path(__file__).parent / "names"
VERSIONS = ("v1", "v2", "v3")
NATIVE = "native"
PLAN = "plan."
COMMON = {"env": "plan.env"}  # in all of them; seed and device are called as ours are


@dataclass(frozen=True)
class Meaning:
    """What setting a name does.

    Args:
        keys: of ours, or of the plan. form: of the value; empty leaves it.
        general: whether a particular name wins. only, reason: the one value that is not refused.
        ignored: why it does nothing.
    """

    keys: tuple[str, ...] = ()
    form: str = ""
    general: bool = False
    only: Any = None
    reason: str = ""
    ignored: str = ""


@dataclass
class Said:
    """What some names and their values come to.

    Args:
        options: key of ours -> value. numbers: word of the plan -> value.
        suites: suite -> option -> value, of names that belong to one suite.
        notes: sentences on what does nothing.
    """

    options: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Dialect:
    """One document's names; the fields are those of its file."""

    name: str
    presets: Mapping[str, str]
    unit: str
    kl: Mapping[str, str]
    names: Mapping[str, Any]
    pixels: str | list[str] = ""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    implied: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def version_word(self) -> str:
        """The name that says which version of the agent; empty where all are of one."""
        says = f"{PLAN}version"
        entries = ((n, e.get("to")) for n, e in self.names.items() if isinstance(e, Mapping))
        return next((name for name, to in entries if to == says), "")

    def check(self, name: str) -> None:
        """Refuse a name that nobody knows, whatever the version.

        Raises:
            UsageError: naming the nearest, and the dialects that know it.
        """
        if name in self.names or name in COMMON or self._suite(name) or _is_ours(name):
            return
        valid = [*self.names, *COMMON, *(key for key in key_types() if "." not in key)]
        raise UsageError(nearest(name, valid, f"setting of {self.name}") + _elsewhere(name))

    def meaning(self, name: str, version: str) -> Meaning:
        """What a name does to an agent of a version.

        Raises:
            UsageError: when it is unknown, or no setting of that version.
        """
        self.check(name)
        entry = self._entry(name, version)
        if entry is None:
            others = " and ".join(f"Dreamer{each}" for each in self.names[name])
            raise UsageError(f"{name!r} is a setting of {others}, not of Dreamer{version}")
        return _meaning(entry)

    def covered(self, words: Iterable[str], version: str) -> frozenset[str]:
        """Names with a default for what a general word among these sets too."""
        known = {n: self._entry(n, version) for n in (*words, *self.defaults.get(version, {}))}
        meanings = {n: _meaning(entry) for n, entry in known.items() if entry}
        general = [meanings[n] for n in words if n in meanings and meanings[n].general]
        keys = {key for each in general for key in each.keys}
        return frozenset(n for n, m in meanings.items() if keys & {*m.keys})

    def read(self, words: Mapping[str, Any], version: str) -> Said:
        """What names and values set, in an agent of a version.

        Raises:
            UsageError: when a name is unknown, a value cannot be had, or two names disagree.
        """
        said, by = Said(), dict[str, str]()
        meanings = {n: self.meaning(n, version) for n in words if not self._suite(n)}
        for name in sorted(meanings, key=lambda n: not meanings[n].general):  # general ones first
            self._say(said, by, name, words[name], meanings)
        for name, value in words.items():
            if name not in meanings:
                suite = self._suite(name)
                prefix = next(p for p in self.prefixes if name.startswith(p))
                said.suites.setdefault(suite, {})[name.removeprefix(prefix)] = value
        return said

    def _say(
        self, said: Said, by: dict[str, str], name: str, value: Any, meanings: dict[str, Meaning]
    ) -> None:
        meaning = meanings[name]
        if meaning.ignored:
            said.notes.append(f"{name}: {meaning.ignored}.")
        if meaning.reason and value != meaning.only:
            raise UsageError(f"{name}={value!r}: {meaning.reason}")
        value = FORMS[meaning.form](value) if meaning.form else value
        for key in meaning.keys:
            place, word = (
                (said.numbers, key[len(PLAN) :]) if key.startswith(PLAN) else (said.options, key)
            )
            other = by.get(key)
            alike = other and meanings[other].general == meaning.general
            if alike and place[word] != value:
                raise UsageError(f"{other!r} and {name!r} say the same thing: pass one of them")
            place[word], by[key] = value, name

    def _entry(self, name: str, version: str) -> Any:
        """What the file has for a name in an agent of a version; None where that has none."""
        entry = self.names.get(name, COMMON.get(name, name))
        by_version = isinstance(entry, Mapping) and set(entry) <= set(VERSIONS)
        return entry.get(version) if by_version else entry

    def _suite(self, name: str) -> str:
        """The suite that a name with a prefix is an option of, else empty."""
        if name in self.names:
            return ""
        return next((suite for p, suite in self.prefixes.items() if name.startswith(p)), "")


@cache
def read_dialect(name: str) -> Dialect:
    """A dialect.

    Raises:
        UsageError: naming the nearest and all valid ones.
    """
    if name not in dialect_names():
        raise UsageError(nearest(name, dialect_names(), "dialect"))
    tree = read_yaml(FOLDER / f"{name}.yaml")
    return Dialect(name, **tree)


def dialect_names() -> list[str]:
    """All dialects."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def version_of(algo: str) -> str:
    """`v1`, `v2` or `v3` of `"Dreamerv1"`, `"DreamerV2"` or `"v3"`.

    Raises:
        UsageError: naming the nearest.
    """
    return version(algo)


def _is_ours(name: str) -> bool:
    return name in key_types() or name.startswith(f"{OPTIONS}.")


def _meaning(entry: Any) -> Meaning:
    if isinstance(entry, str):
        return Meaning((entry,))
    if "ignored" in entry:
        return Meaning(ignored=entry["ignored"])
    if "else" in entry:
        return Meaning(only=entry["only"], reason=entry["else"])
    if "every" in entry:
        return Meaning(tuple(entry["every"]), general=True)
    keys = entry["to"] if isinstance(entry["to"], list) else [entry["to"]]
    return Meaning(tuple(keys), form=entry["as"])


def _elsewhere(name: str) -> str:
    """A sentence on the dialects that know a name, empty when none does."""
    found: dict[str, list[str]] = {}
    for other in dialect_names():
        dialect = read_dialect(other)
        for each in dialect.presets if name in dialect.names else ():
            try:
                keys = dialect.meaning(name, each).keys
            except UsageError:
                continue
            text = keys[0].removeprefix(PLAN) if keys else "understood"
            if other not in found.setdefault(text, []):
                found[text].append(other)
    if not found:
        return ""
    meanings = "; ".join(f"{key} to {' and '.join(whose)}" for key, whose in found.items())
    first = next(iter(found.values()))[0]
    return f" It is {meanings}: say which with from_dialect(..., dialect={first!r})."
