"""`models pull`: let Ollama fetch models, and show how far it is.

pull_progress.py reads the lines that Ollama sends and draws them; here is what to fetch, from which server, and what
each way of failing means. A pull that is broken off, by Ctrl-C or by the network, keeps what has arrived: the same
command goes on there.

Source: Ollama's published API document, POST /api/pull.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.cli import errors, ollama, report, words
from app.cli.batch_verbs import load
from app.cli.errors import NOT_REACHED, OK, SOME_FAILED, WRONG_INPUT, CliError
from app.cli.pull_progress import Progress, display
from config.catalog import Candidate, Catalog

if TYPE_CHECKING:
    from config.settings import Provider, Settings

GOES_ON = "the same command goes on where it stopped"
# Ollama says something many times a second, but not while it checks the sum of a large file on a slow disk.
_SILENCE_S = 600.0
_CONNECT_S = 5.0
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Server:
    """An Ollama server that is asked to pull; `headers` are for a proxy before it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)


class NobodyThere(CliError):
    """No Ollama answers: the other models would say the same."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a sentence of Ollama's means; `{model}` and `{said}` are filled in."""

    pattern: re.Pattern[str]
    message: str
    hint: str
    exit_code: int


_FAILURES = (
    _Failure(
        re.compile(r"no space left|not enough space|disk quota", re.IGNORECASE),
        "the disk of Ollama's models is full: {said}",
        f"make room there (`ollama rm` takes a model away); then {GOES_ON}",
        SOME_FAILED,
    ),
    _Failure(
        re.compile(r"file does not exist|invalid model name|not found|name .* is invalid", re.IGNORECASE),
        "Ollama's library has no model {model!r}",
        "the names are those of ollama.com/library, such as llama3.2:3b",
        WRONG_INPUT,
    ),
    _Failure(
        re.compile(r"newer version of Ollama|\b412\b", re.IGNORECASE),
        "{model!r} needs a newer Ollama",
        "update Ollama (ollama.com/download)",
        SOME_FAILED,
    ),
    _Failure(
        re.compile(
            r"no such host|dial tcp|connection re|timeout|TLS|certificate|max retries|EOF|\b50[234]\b"
        ),
        "Ollama does not reach its library: {said}",
        GOES_ON,
        NOT_REACHED,
    ),
)


def pull(models: Sequence[str], *, all_configured: bool, as_json: bool) -> int:
    """Fetch models into every configured Ollama; without names, those that the catalogue prefers there.

    Args:
        models: names of Ollama's library, or our aliases such as `fast`.
        all_configured: the preferred ones, and those that the providers' `models` name, as well.
    Returns: the exit code: 0, that of the failure, or 1 when some models arrived.
    Raises: CliError for names that are not Ollama's, or an Ollama that does not answer.
    """
    settings = load()
    names = wanted(models, settings, all_configured=all_configured)
    codes = []
    try:
        for server in servers(settings):
            codes += [_pull_one(server, name, as_json=as_json) for name in names]
    except (KeyboardInterrupt, SystemExit):
        print(f"stopped; {GOES_ON}", file=sys.stderr)
        raise
    failed = {code for code in codes if code != OK}
    return failed.pop() if len(failed) == 1 and OK not in codes else SOME_FAILED if failed else OK


def wanted(models: Sequence[str], settings: Settings, *, all_configured: bool) -> list[str]:
    """The names to ask Ollama for, each once, in order. Raises CliError for a model of another provider."""
    places = ["ollama", *(each.name for each in settings.providers if each.kind == "ollama")]
    names = [_library_name(name, places, settings.catalog) for name in models]
    if all_configured or not models:
        names += preferred(settings.catalog)
    if all_configured:
        listed = [name for each in settings.providers if each.kind == "ollama" for name in each.models]
        names += [name for name in listed if not _GLOB.search(name)]
    return list(dict.fromkeys(names))


def preferred(catalog: Catalog) -> list[str]:
    """What the catalogue's aliases mean at Ollama: the fast, the mini and the quality model and the like."""
    found = [catalog.resolve(each) for each in catalog.aliases.values() if each.place == "ollama"]
    return list(dict.fromkeys(each.model for each in found))


def _library_name(name: str, places: Sequence[str], catalog: Catalog) -> str:
    place, slash, rest = name.partition("/")
    plain = rest if slash and place in places else name
    meant = catalog.resolve(Candidate(None, plain))
    if meant.place not in (None, "ollama"):
        raise CliError(
            f"{name!r} is a model of {meant.place}: there is nothing to pull",
            hint="the names are those of ollama.com/library, such as llama3.2:3b",
        )
    return meant.model


def servers(settings: Settings) -> list[Server]:
    """Every configured Ollama once; without one, Ollama's own place on this machine."""
    found = [_server(each) for each in settings.providers if each.kind == "ollama"]
    return list(dict.fromkeys(found)) or [Server(ollama.DEFAULT_URL)]


def _server(provider: Provider) -> Server:
    key = {"authorization": f"Bearer {provider.api_key.reveal()}"} if provider.api_key else {}
    return Server(provider.base_url.removesuffix("/v1"), {**key, **provider.headers})


def _pull_one(server: Server, model: str, *, as_json: bool) -> int:
    progress = Progress(model, ollama.download_bytes(model))
    problem: CliError | None = None
    with display() as shown:
        try:
            for line in _lines(server, model):
                progress.read(line)
                shown.update(progress)
            if not progress.done:
                raise _lost(server)
        except NobodyThere:
            raise
        except CliError as error:
            problem = error
        shown.end(progress)
    if problem is not None and problem.exit_code == NOT_REACHED and ollama.look(server.url).has(model):
        # Without the library nobody knows of a newer one; what was pulled once answers all the same.
        print(f"{model}: is there already; {problem.message}", file=sys.stderr)
        problem = None
    if as_json:
        report.print_json(_as_json(server, progress, problem))
    if problem is not None:
        report.print_error(problem)
        return problem.exit_code
    return OK


def _as_json(server: Server, progress: Progress, problem: CliError | None) -> dict[str, Any]:
    status = "failed" if problem else "pulled" if progress.fetched else "present"
    told: dict[str, Any] = {
        "model": progress.model,
        "server": server.url,
        "status": status,
        "bytes": progress.total,
        "fetched_bytes": progress.fetched,
        "seconds": round(progress.elapsed_s, 1),
    }
    return {**told, **errors.as_json(problem)} if problem else told


def _lines(server: Server, model: str) -> Iterator[dict[str, Any]]:
    """What Ollama says of one pull. Raises CliError."""
    import httpx

    from app.client.connection import is_loopback

    timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
    here = is_loopback(httpx.URL(server.url).host)
    body = {"model": model, "stream": True}
    try:
        with (
            httpx.Client(timeout=timeout, headers=dict(server.headers), trust_env=not here) as client,
            client.stream("POST", f"{server.url}/api/pull", json=body) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise failure(model, _sentence(response.text, response.status_code))
            for line in response.iter_lines():
                if line.strip():
                    yield _object(line, server, model)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message, hint = ollama.silence(ollama.look(server.url))
        raise NobodyThere(message, hint=hint, exit_code=NOT_REACHED) from error
    except httpx.HTTPError as error:
        raise _lost(server) from error


def _object(line: str, server: Server, model: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise CliError(
            f"what answers at {server.url} is not Ollama", hint="correct OLLAMA_HOST", exit_code=NOT_REACHED
        )
    if "error" in data:
        raise failure(model, str(data["error"]))
    return data


def _sentence(text: str, status: int) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}"


def failure(model: str, said: str) -> CliError:
    """A sentence of Ollama's as an error with a way out."""
    said = words.one_line(said)
    known = next((each for each in _FAILURES if each.pattern.search(said)), None)
    if known is None:
        return CliError(f"Ollama cannot pull {model!r}: {said}", exit_code=SOME_FAILED)
    return CliError(known.message.format(model=model, said=said), hint=known.hint, exit_code=known.exit_code)


def _lost(server: Server) -> CliError:
    message = f"Ollama at {server.url} broke off"
    return CliError(message, hint=GOES_ON, exit_code=NOT_REACHED)
