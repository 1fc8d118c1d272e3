"""A tenant's program: it submits files as a careful user would, and remembers what was accepted.

Its log is one half of the evidence; the simulator's call log is the other.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest

from app.simulator.answers import answer_text

MODEL = "sim-small"
ENDPOINT = "/v1/chat/completions"
_TRY_AGAIN_S = 0.1
Doc = dict[str, Any]


@dataclass(frozen=True)
class Submitted:
    """A batch that the API has accepted. `prompts`: by custom_id."""

    tenant: str
    id: str
    prompts: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass
class Tenant:
    """One tenant's access to the API; calls are tried again while it is away, as the SDKs do."""

    name: str
    key: str
    url: str
    seed: int
    model: str = MODEL
    submitted: list[Submitted] = field(default_factory=list)
    _files: int = 0

    def submit(self, items: int, *, prompt: Callable[[int], str] | None = None, **create: Any) -> Submitted:
        """Upload a file of so many items and create its batch, however often that has to be tried.

        Args:
            prompt: the text of an item by its number; by default all are different.
            create: more fields of the create.
        """
        self._files += 1
        made = prompt or self._prompts(self._files)
        prompts = {f"{self.name}-{self._files}-{number}": made(number) for number in range(items)}
        body = {
            "input_file_id": self.upload(prompts),
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            **create,
        }
        key = {"idempotency-key": secrets.token_hex(8)}
        batch = self.insist("POST", "/v1/batches", json=body, headers=key)
        done = Submitted(self.name, batch["id"], prompts)
        self.submitted.append(done)
        return done

    def upload(self, prompts: Mapping[str, str]) -> str:
        """A file that asks these, by custom_id; gives its id."""
        raw = b"".join(self._line(custom_id, text) for custom_id, text in prompts.items())
        return str(self.insist("POST", "/v1/files", **_form(raw))["id"])

    def insist(self, method: str, path: str, *, within_s: float = 90.0, **request: Any) -> Doc:
        """The JSON of a success; refusals of a moment (connection, 429, 5xx) are tried again until then."""
        until, said = time.monotonic() + within_s, ""
        while time.monotonic() < until:
            try:
                response = self.ask(method, path, **request)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if response.is_success:
                    return dict(response.json())
                said = f"{response.status_code} {response.text[:300]}"
                if response.status_code < 429:
                    break
            time.sleep(_TRY_AGAIN_S)  # as an SDK does between two tries; `until` bounds it
        pytest.fail(f"{method} {path} of {self.name}: {said}")

    def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any) -> Any:
        """One request on a connection of its own; the response, whatever it says."""
        with httpx.Client(base_url=self.url, timeout=30.0, trust_env=False) as http:
            named = {"authorization": f"Bearer {self.key}", **(headers or {})}
            return http.request(method, path, headers=named, **request)

    def statuses(self, paths: Iterable[str]) -> dict[str, int]:
        """What a GET of each of these is answered with."""
        named = {"authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, timeout=30.0, trust_env=False, headers=named) as http:
            return {path: http.get(path).status_code for path in paths}

    def batch(self, batch_id: str) -> Doc:
        """The batch object."""
        return self.insist("GET", f"/v1/batches/{batch_id}")

    def rows(self, file_id: str | None) -> list[Doc]:
        """The lines of an output or error file; none for None."""
        if file_id is None:
            return []
        response = self.ask("GET", f"/v1/files/{file_id}/content")
        assert response.status_code == 200, response.text[:300]
        return [orjson.loads(line) for line in response.content.splitlines()]

    def request(self, prompt: str) -> Doc:
        """The body that asks a prompt, as it stands in a line and as a provider gets it."""
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}]}

    def answer_to(self, prompt: str) -> str:
        """f(prompt)."""
        return answer_text(self.model, [{"role": "user", "content": prompt}], self.seed)

    def _prompts(self, file: int) -> Callable[[int], str]:
        return lambda number: (
            f"Summarise remark {self.name}-{file}-{number} of our customers in one sentence."
        )

    def _line(self, custom_id: str, prompt: str) -> bytes:
        line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": self.request(prompt)}
        return orjson.dumps(line) + b"\n"


def _form(raw: bytes) -> Doc:
    return {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", raw, "application/octet-stream")}}
