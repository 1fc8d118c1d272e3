"""What is known of models and tasks, as values. catalog_file.py reads them from models.toml; core/choose.py decides.

A catalogue is data about names: nothing here says which provider is configured or reachable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Ability = Literal["chat", "vision", "tools", "schema", "audio", "embedding", "transcription", "speech"]
CapField = Literal["max_tokens", "max_completion_tokens"]
Streaming = Literal["never", "always", "auto"]
Priority = Literal["speed", "quality", "cost"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
ABILITIES: tuple[Ability, ...] = get_args(Ability)
# Kinds of providers that a name may begin with.
KINDS = ("openai", "anthropic", "gemini", "ollama")
# Routes that are no task type: for requests without one, and for what only some models can do.
DEFAULT_ROUTE = "default"
OTHER_ROUTES = (DEFAULT_ROUTE, "vision", "embeddings", "transcriptions", "speech")

_MEMO_SIZE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTraits:
    """One model, as far as a request to it depends on it. The defaults are those of a model nobody knows.

    Attributes:
        context_tokens, max_output_tokens: the model's bounds; None: unknown.
        default_output_tokens: the cap for an API that wants one when the request names none.
        thought_tokens: what it may think before it answers, where thoughts count against the cap; a task type's
            cap is raised by this much, or a short answer would be cut off before its first word.
        min_cached_tokens: the shortest prefix that the provider's prompt caching takes; None: it has none.
        takes_sampling: whether it accepts temperature and top_p.
        native_schema: whether the provider's own structured-output parameter works with it.
        cap_field: the name its OpenAI-shaped API gives the output cap.
        abilities: what it can do; empty: unknown, then nothing is ruled out.
    """

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    default_output_tokens: int = 4096
    thought_tokens: int = 0
    min_cached_tokens: int | None = None
    takes_sampling: bool = True
    native_schema: bool = False
    cap_field: CapField = "max_tokens"
    abilities: frozenset[Ability] = field(default_factory=frozenset)

    def can(self, needs: frozenset[Ability]) -> bool:
        """Whether nothing that is known rules the needs out."""
        return not self.abilities or needs <= self.abilities


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """The defaults a request inherits by its `task_type`; None leaves a parameter to the provider."""

    name: str
    max_tokens: int | None = None
    temperature: float | None = None
    streaming: Streaming = "never"
    short: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model somewhere: `place` is a kind of provider or a provider's name; None asks whoever offers the model.

    `ours` says that models.toml wrote it: its places are kinds, never the names a user gave to providers.
    """

    place: str | None
    model: str
    ours: bool = False

    def __str__(self) -> str:
        return f"{self.place}/{self.model}" if self.place else self.model


@dataclass(frozen=True, slots=True)
class Pattern:
    """Traits for the models whose name (or KIND/name) matches a shell pattern; `traits` are the changes only."""

    glob: str
    traits: Mapping[str, Any] = field(hash=False)

    def fits(self, model: str, kind: str) -> bool:
        """Whether it is about this model at a provider of this kind."""
        if fnmatchcase(model, self.glob) or fnmatchcase(f"{kind}/{model}", self.glob):
            return True
        # The simulator plays every kind: what is known of the name holds there too.
        place, _, rest = self.glob.partition("/")
        return kind == "sim" and place in KINDS and fnmatchcase(model, rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that models.toml and the user's tables say.

    Attributes:
        task_types: by full name.
        models: layers of patterns, the weakest first; in a layer the first pattern that fits counts.
        aliases: other names for models.
        retired: patterns of names that their provider has shut down, and what replaces them.
        routes: for each priority and task type (or one of `OTHER_ROUTES`) the candidates, the best first.
    """

    task_types: Mapping[str, TaskType] = field(default_factory=dict, hash=False)
    models: tuple[tuple[Pattern, ...], ...] = ()
    aliases: Mapping[str, Candidate] = field(default_factory=dict, hash=False)
    retired: tuple[tuple[str, Candidate], ...] = ()
    routes: Mapping[Priority, Mapping[str, tuple[Candidate, ...]]] = field(default_factory=dict, hash=False)
    _memo: dict[tuple[str, str], ModelTraits] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def traits(self, model: str, kind: str = "") -> ModelTraits:
        """What is known of a model; a model nobody knows has the defaults."""
        known = self._memo.get((model, kind))
        if known is None:
            known = ModelTraits()
            for layer in self.models:
                found = next((pattern for pattern in layer if pattern.fits(model, kind)), None)
                known = replace(known, **found.traits) if found else known
            if len(self._memo) >= _MEMO_SIZE:  # names come from users: there is no end of them
                self._memo.clear()
            self._memo[model, kind] = known
        return known

    def task_type(self, name: str) -> TaskType | None:
        """The task type of a full or short name."""
        found = self.task_types.get(name)
        return found or next((each for each in self.task_types.values() if name in each.short), None)

    def route(self, priority: Priority, name: str) -> tuple[Candidate, ...]:
        """The candidates for a task type or for one of `OTHER_ROUTES`, the best first."""
        routes = self.routes.get(priority, {})
        found = routes.get(name)
        return routes.get(DEFAULT_ROUTE, ()) if found is None else found

    def replacement(self, model: str) -> Candidate | None:
        """What a provider names in place of a model it has shut down; None for one that lives."""
        return next((new for glob, new in self.retired if fnmatchcase(model, glob)), None)

    def resolve(self, candidate: Candidate) -> Candidate:
        """What a candidate means once aliases are followed; an alias counts only at its own place."""
        seen = {candidate}
        while (alias := self.aliases.get(candidate.model)) is not None:
            if candidate.place not in (None, alias.place) or alias in seen:
                break
            seen.add(alias)
            candidate = alias
        return candidate
