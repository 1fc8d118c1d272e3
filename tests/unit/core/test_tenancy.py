"""What is settled for a tenant, read from whatever its document says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.core.tenancy import LIMIT_NAMES, TenantLimits, TenantRules, is_tenant_name, rules_in

LIMITS = st.dictionaries(st.sampled_from(LIMIT_NAMES), st.none() | st.integers(1, 2**53))


def test_a_tenant_of_an_earlier_version_is_not_limited() -> None:
    assert rules_in({"_id": "default", "weight": 1.0}) == TenantRules() == rules_in({})
    assert TenantRules().limits == TenantLimits()


@given(limits=LIMITS)
def test_each_limit_is_read_under_its_own_name(limits: dict[str, int | None]) -> None:
    found = rules_in({"limits": limits, "weight": 2, "max_cost_usd_per_month": 5, "retention_days": 0})
    assert {name: getattr(found.limits, name) for name in limits} == limits
    assert (found.weight, found.max_cost_usd_per_month, found.retention_days) == (2.0, 5, 0)


@given(text=st.text(max_size=70))
def test_a_tenants_name_needs_no_quoting_anywhere(text: str) -> None:
    if is_tenant_name(text):
        assert 1 <= len(text) <= 64 and set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def test_names_that_are_and_are_not() -> None:
    assert all(map(is_tenant_name, ("default", "a", "team-7", "a_b", "a" * 64)))
    assert not any(map(is_tenant_name, ("", "A", "a.b", "a:b", "-a", "a-", "a" * 65, "a\n", "ä")))
