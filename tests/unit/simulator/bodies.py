"""Bodies for the simulator's tests: any JSON at all, and one call decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from hypothesis import strategies as st

from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.simulation import Plan, Simulation

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["user", "text", "function", "message", "json_schema", "5m", "enabled"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6)
            | st.sampled_from(["type", "role", "content", "name", "text", "format", "schema"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def sent(path: str, body: Any, headers: Mapping[str, str], **settings: Any) -> Plan:
    """What a new simulator with these settings answers to one body."""
    call = Inbound("POST", path, orjson.dumps(body), dict(headers))
    return Simulation(SimulatorConfig(**settings), instance="ab").decide(call, now=0.0, unix_s=1_700_000_000)
