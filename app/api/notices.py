"""What an API process tells the world by: endpoints, deliveries, and the way out to them.

services.py makes it once; webhooks.py answers from it; server.py runs its notifier.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from workers.core import addresses
from workers.core.errors import UserError
from workers.notify import Notifier
from workers.store.deliveries import Deliveries
from workers.store.stores import Stores
from workers.store.threads import Threads
from workers.store.webhooks import Webhooks
from workers.transport.outward import Names, Outward

_CHECKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Notices:
    """Everything about webhooks."""

    webhooks: Webhooks
    deliveries: Deliveries
    outward: Outward
    notifier: Notifier
    names: tuple[Names, ...]

    @property
    def busy(self) -> bool:
        """Whether a thread still waits for a name server."""
        return any(each.busy for each in self.names)

    def close(self) -> None:
        """Look no name up any more."""
        for each in self.names:
            each.close()


def notices_of(settings: Settings, stores: Stores, threads: Threads) -> Notices:
    """All of it by the settings. Raises UserError for networks that cannot be read."""
    # Whoever registers URLs of silent name servers must not keep deliveries from theirs.
    rules, names, names_at_check = settings.webhook, Names(), Names(_CHECKS_AT_ONCE)
    try:
        private = addresses.networks(rules.allow_private)
    except ValueError as error:
        raise UserError(
            f"webhook.allow_private (BATCHWRIGHT_WEBHOOK_ALLOW_PRIVATE) cannot be read: {error}",
            hint="it is none, all, or networks such as 10.0.0.0/8,127.0.0.1",
        ) from None
    outward = Outward(
        addresses.Rules(http=rules.allow_http, private=private),
        deadline_s=rules.timeout_s,
        lookup=names,
        check_lookup=names_at_check,
        proxy=rules.proxy,
        ca_file=settings.http.ca_file,
    )
    notifier = Notifier(stores, threads, outward)
    return Notices(stores.webhooks, stores.deliveries, outward, notifier, (names, names_at_check))
