"""Configurations in the words of other documents, read and written as attributes.

    cfg = DreamerConfig()            # torchwm's words
    cfg.algo = "Dreamerv2"
    cfg.batch_size                   # 16, its default for that version
    cfg.to_yaml("walker.yaml")

Nothing is translated before an agent is made of it, so that the order of the attributes does not
matter. `cfg["rssm.deter"]` is for words that Python does not take as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer_plugin.config.yamlfile import read_yaml, write_text, yaml_text
from dreamer_plugin.doors.dialects.dialect import NATIVE, Dialect, read_dialect
from dreamer_plugin.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

_OWN = ("dialect", "base", "_said")  # attributes that are no settings


class DreamerConfig:
    """Settings in the words of a document, `torchwm` unless said otherwise.

    Args:
        dialect: whose words: `rlox`, `nexus`, `torchwm`, `seed003`, `danijar_v1`, `danijar_v2`,
            `danijar_v3`, or `native` for ours.
        words: settings; what is not said has the document's default. A name with a dot that is a
            key of ours means that key.

    Raises:
        UsageError: at a word that the dialect lacks; names the nearest, and who has it.
    """

    default_dialect = "torchwm"
    dialect: Dialect
    base: str  # preset, or path of a file, below the words; empty: the version's
    _said: dict[str, Any]

    def __init__(self, dialect: str = "", **words: Any) -> None:
        object.__setattr__(self, "dialect", read_dialect(dialect or self.default_dialect))
        object.__setattr__(self, "base", "")
        object.__setattr__(self, "_said", {})
        self.update(words)

    @classmethod
    def from_dialect(cls, words: Mapping[str, Any], dialect: str = "") -> Self:
        """Settings in the words of any document, nested or with dots."""
        made = cls(dialect)
        made.update(words)
        return made

    @classmethod
    def from_yaml(cls, path: str | Path, **words: Any) -> Self:
        """What `to_yaml` wrote, or the `config.yaml` of a run.

        Args:
            path: of the file.
            words: settings that replace those of the file.
        """
        tree = read_yaml(Path(path))
        if "agent" in tree:  # ours, complete
            made = cls(NATIVE)
            object.__setattr__(made, "base", str(Path(path).absolute()))
        else:
            made = cls(str(tree.pop("dialect", "")))
            made.update(tree)
        made.update(words)
        return made

    @property
    def version(self) -> str:
        """`v1`, `v2` or `v3`."""
        first, word = next(iter(self.dialect.presets)), self.dialect.version_word
        if word not in self.said:
            return first
        return str(self.dialect.read({word: self.said[word]}, first).numbers["version"])

    @property
    def said(self) -> dict[str, Any]:
        """The settings that somebody made, as far as they are not None."""
        return {name: value for name, value in self._said.items() if value is not None}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What the document has for the rest, but for what a changed general word sets."""
        version = self.version
        have = self.dialect.defaults.get(version, {})
        changed = [name for name, value in self.said.items() if value != have.get(name)]
        covered = self.dialect.covered(changed, version)
        return {name: value for name, value in have.items() if name not in covered}

    def update(self, words: Mapping[str, Any]) -> None:
        """Set several; a mapping in a mapping is a section, as if its names had dots."""
        for name, value in words.items():
            if isinstance(value, Mapping) and name not in self.dialect.names:
                self.update({f"{name}.{key}": item for key, item in value.items()})
            else:
                self[name] = value

    def copy(self) -> Self:
        """Settings of their own with the same values."""
        made = type(self)(self.dialect.name)
        object.__setattr__(made, "base", self.base)
        made._said.update(self._said)
        return made

    def to_dict(self) -> dict[str, Any]:
        """All settings, the document's defaults among them, where there is a value."""
        merged = {**self.defaults, **self._said}
        return {name: value for name, value in merged.items() if value is not None}

    def to_yaml(self, path: str | Path) -> None:
        """Write all settings, for `from_yaml`.

        Raises:
            UsageError: when one is an object, which no file holds.
        """
        if self.base:
            raise UsageError(f"these settings change those of {self.base}: keep that file instead")
        plain = {name: _plain(name, value) for name, value in self.to_dict().items()}
        write_text(yaml_text({"dialect": self.dialect.name, **plain}), Path(path))

    def __setitem__(self, name: str, value: Any) -> None:
        self.dialect.check(name)
        self._said[name] = list(value) if isinstance(value, tuple) else value  # as files have it

    def __getitem__(self, name: str) -> Any:
        merged = {**self.defaults, **self._said}
        if name not in merged:
            self.dialect.check(name)
            raise KeyError(name)
        return merged[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _OWN:
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            message = f"{name!r} was not set, and the document has no default for it"
            raise AttributeError(message) from None
        except UsageError as error:
            raise AttributeError(str(error)) from error

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.dialect.names})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DreamerConfig):
            return NotImplemented
        return (self.dialect.name, self.base, self.to_dict()) == (
            other.dialect.name,
            other.base,
            other.to_dict(),
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self._said.items())
        return f"{type(self).__name__}({words})"


class DreamerV3Config(DreamerConfig):
    """Settings in rlox's words, with its defaults."""

    default_dialect = "rlox"


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, (bool, int, float, str, list)):
        return value
    raise UsageError(f"{name} is {value!r}, which no file holds")
