"""From what people type to `suite/task`: spellings, other libraries' ids, and helpful errors.

typed                       meant
atari/pong                  atari/Pong
PongNoFrameskip-v4          atari/Pong          Gym's name of the game
ALE/Pong-v5                 atari/Pong          ALE is another name of the suite
walker_walk, DMC-Walker-Walk  dmc/walker-walk
CartPole-v1                 gym/CartPole-v1
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from dreamer_envs.errors import EnvIdError
from dreamer_envs.spec import SuiteSpec, load

LIST_SUITES = "`dreamer-plugin envs` lists all suites"
FEW = 8  # tasks that an error names all
OWN_PREFIX = "dreamer_envs:"  # how gymnasium.make asks for one of our ids

Suites = Mapping[str, SuiteSpec]


def fold(text: str) -> str:
    """Lower case without separators: what two spellings of a name have in common."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def match_tasks(suite: SuiteSpec, text: str) -> list[str]:
    """Tasks of a suite that a text may spell: one where it is clear, none where it is none."""
    if suite.match is not None:
        found: str | None = load(suite.match)(text)
        return [found] if found is not None else []
    tasks = suite.task_names()
    for pattern, replacement in (("$", ""), (r"-v0$", ""), *suite.spellings):
        spelled = re.sub(pattern, replacement, text)
        if spelled in tasks:  # `c+` and `level-1-1` are not `c` and `level-11`
            return [spelled]
        wanted = fold(spelled)
        alike = [task for task in tasks if fold(task) == wanted]
        if alike:
            return alike
    return []


def resolve(text: str, suites: Suites) -> tuple[SuiteSpec, str]:
    """Suite and task that an id means.

    Args:
        text: what the user typed.
        suites: known suites by name.

    Returns:
        The suite's spec and the task's own name.

    Raises:
        EnvIdError: nothing matches, or several do; the message names the nearest.
    """
    if not isinstance(text, str) or not text.strip():
        raise EnvIdError(f"An env id is text like 'atari/Pong', not {text!r}; {LIST_SUITES}.")
    name = text.strip().removeprefix(OWN_PREFIX)
    head, slash, rest = name.partition("/")
    if slash:
        suite = find_suite(head, suites)
        if suite is not None:
            return suite, _task_or_error(suite, rest, text)
        return _without_suite(name, suites) or _unknown_suite(text, head, rest, suites)
    return _without_suite(name, suites) or _unknown_bare(text, suites)


def find_suite(name: str, suites: Suites) -> SuiteSpec | None:
    """Suite of that name or alias, whatever the case and separators; `None` if there is none."""
    wanted = fold(name)
    for suite in suites.values():
        if wanted in {fold(known) for known in (suite.name, *suite.aliases)}:
            return suite
    return None


def _without_suite(name: str, suites: Suites) -> tuple[SuiteSpec, str] | None:
    """Resolves a bare task or `suite-task`; an exact id of another library beats our spellings."""
    hits = dict.fromkeys(_hits(name, suites))
    if not hits:
        return None
    exact = [(suite, task) for suite, task in hits if task == name and suites[suite].match]
    found = exact or list(hits)
    if len(found) > 1:
        raise _ambiguous(name, [f"{suites[suite].name}/{task}" for suite, task in found])
    suite_name, task = found[0]
    return suites[suite_name], task


def _ambiguous(text: str, ids: list[str]) -> EnvIdError:
    written = " or ".join(map(repr, ids))
    return EnvIdError(f"Env id {text!r} is ambiguous: write {written}; {LIST_SUITES}.")


def _hits(name: str, suites: Suites) -> Iterator[tuple[str, str]]:
    for suite in suites.values():
        if suite.bare:
            yield from ((suite.name, task) for task in match_tasks(suite, name))
        for prefix in (suite.name, *suite.aliases):
            if re.match(rf"(?i){re.escape(prefix)}[-_]", name):
                rest = name[len(prefix) + 1 :]
                yield from ((suite.name, task) for task in match_tasks(suite, rest))


def _task_or_error(suite: SuiteSpec, task_text: str, text: str) -> str:
    found = match_tasks(suite, task_text)
    if len(found) > 1:
        raise _ambiguous(text, [f"{suite.name}/{task}" for task in found])
    if found:
        return found[0]
    known = suite.task_names()
    close = nearest(task_text, {task: task for task in known})
    hint = f" Did you mean '{suite.name}/{close}'?" if close else ""
    if not close and len(known) <= FEW:
        hint = f" It has: {', '.join(known)}."
    raise EnvIdError(
        f"Unknown task {task_text!r} of suite {suite.name!r} in {text!r}.{hint} "
        f"`dreamer-plugin envs {suite.name}` lists all its tasks."
    )


def _unknown_suite(text: str, head: str, rest: str, suites: Suites) -> tuple[SuiteSpec, str]:
    known = {
        alias: suite.name for suite in suites.values() for alias in (suite.name, *suite.aliases)
    }
    close = nearest(head, known)
    hint = f" Did you mean suite {close!r}?" if close else ""
    if close:
        tasks = match_tasks(suites[close], rest)
        hint = f" Did you mean '{close}/{tasks[0]}'?" if tasks else hint
    raise EnvIdError(f"Unknown suite {head!r} in {text!r}.{hint} {LIST_SUITES}.")


def _unknown_bare(text: str, suites: Suites) -> tuple[SuiteSpec, str]:
    suite = find_suite(text, suites)
    if suite is not None:
        few = ", ".join(f"{suite.name}/{task}" for task in suite.task_names()[:3])
        raise EnvIdError(
            f"{text!r} is a suite: add a task, such as {few}; "
            f"`dreamer-plugin envs {suite.name}` lists them."
        )
    known = {
        spelling: f"{suite.name}/{task}"
        for suite in suites.values()
        for task in suite.task_names()
        for spelling in (task, f"{suite.name}/{task}")
        if suite.bare or spelling != task
    }
    close = nearest(text, known)
    hint = f" Did you mean {close!r}?" if close else ""
    listing = (
        f"`dreamer-plugin envs {close.partition('/')[0]}` lists its tasks" if close else LIST_SUITES
    )
    raise EnvIdError(f"Unknown env id {text!r}.{hint} An id is 'suite/task'; {listing}.")


def nearest(text: str, known: Mapping[str, str]) -> str | None:
    """Value of the key that looks most like the text, or `None` if none does."""
    folded = {fold(key): value for key, value in known.items()}
    close = difflib.get_close_matches(fold(text), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
