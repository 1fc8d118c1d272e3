"""What helps a batch that waits: for every reason of progress.py the command, where there is one, and words. Pure.

`{id}`, `{provider}` and `{tenant}` stand for names, quoted for a shell; `N` is a number that a person chooses. A
command that only an operator may give is still named: whoever asks knows then whom to ask for what.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workers.core.progress_parts import Waiting

_ITSELF = "Nothing to do: it goes on by itself."
_DOCTOR = "batchwright doctor"


@dataclass(frozen=True, slots=True)
class Help:
    """What can be done: `command` is None where nothing is to be done, or nothing by a command."""

    command: str | None
    text: str


HELPS: Final[Mapping[str, Help]] = {
    "planning": Help(None, "Nothing to do: the work is being prepared."),
    "no_worker": Help("batchwright up", "Starts the stack with its workers; on a cluster, start a worker."),
    "lost_worker": Help(None, "Nothing to do: other workers take it over when its lease ends."),
    "broker": Help(_DOCTOR, "Says what is wrong with the broker; nothing is lost meanwhile."),
    "paused": Help("batchwright resume {id}", "Lets the batch go on."),
    "provider_held": Help(
        "batchwright resume --provider {provider}", "The operator lets the provider go on."
    ),
    "tenant_held": Help("batchwright resume --tenant {tenant}", "Lets everything of the tenant go on."),
    "budget": Help(
        "batchwright resume {id} --max-cost-usd N",
        "It goes on when calls under way have ended; a higher ceiling gives it more room at once.",
    ),
    "tenant_budget": Help(
        "batchwright tenants set {tenant} --max-cost-usd-per-month N",
        "The operator raises the tenant's ceiling for the month; else it goes on when the month turns.",
    ),
    "tenant_limit": Help(
        "batchwright tenants show {tenant}",
        "Shows the tenant's limits, which the operator may raise; else it goes on by itself.",
    ),
    "limit": Help(
        None,
        "Nothing to do, or raise providers.{provider}.limits in the settings if the account allows more.",
    ),
    "provider_paused": Help(None, _ITSELF + " Lower limits for the provider make such rests seldom."),
    "model_paused": Help(None, _ITSELF + " Requests to other models run meanwhile."),
    "concurrency": Help(None, _ITSELF + " More calls at once are tried as soon as the provider keeps up."),
    "breaker": Help(_DOCTOR, "Says whether the provider answers; it is tried again by itself."),
    "retry": Help(_DOCTOR, "Says whether the provider answers; the calls are tried again by themselves."),
    "redis": Help(_DOCTOR, "Says what is wrong with the control Redis."),
    "lease_expired": Help(None, "Nothing to do: another worker takes it over."),
    "drain": Help(None, "Nothing to do: another worker takes it over."),
    "revoked": Help("batchwright pause {id}", "Keeps the batch back, which else goes on by itself."),
    "engine_error": Help(
        "batchwright logs", "Shows the error; what breaks each time ends as `worker_crash`."
    ),
    "suspect": Help(None, "Nothing to do: requests run one at a time to find the one that ends workers."),
    "dependency": Help(None, "Nothing to do: the answers are on their way, paid once."),
    "queue": Help(None, "Nothing to do: it is its turn next. More workers do more at once."),
    "closing": Help(None, "Nothing to do: the batch is being closed."),
}
# Where one kind has different ways out.
CASES: Final[Mapping[str, Help]] = {
    "no_worker_of_provider": Help(
        _DOCTOR, "Says which key or address of the provider the workers lack; then start one that has it."
    ),
    "budget_reached": Help(
        "batchwright resume {id} --max-cost-usd N", "Goes on under a higher ceiling of N US dollars in all."
    ),
}


def shown(waiting: Waiting, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A reason as a reply carries it, with what helps."""
    found = CASES.get(waiting.case) or HELPS[waiting.kind]
    names = {"id": batch["_id"], "tenant": batch.get("tenant", ""), "provider": waiting.provider or ""}
    quoted = {name: shlex.quote(str(value)) for name, value in names.items()}
    command = None if found.command is None else found.command.format(**quoted)
    text = waiting.text.replace("{id}", str(batch["_id"]))
    return waiting.as_dict() | {"text": text, "command": command, "helps": found.text.format(**names)}
