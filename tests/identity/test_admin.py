"""Admin tokens: which opens what."""

from __future__ import annotations

import pytest

from gateway.identity.admin import RIGHTS, Admin, AdminToken, Right, Role, authenticate_admin
from gateway.identity.secrets import digest_of

TOKENS = tuple(AdminToken(f"the-{role}", digest_of(f"gw-{role}"), role) for role in Role)


@pytest.mark.parametrize("role", Role)
def test_a_token_gives_its_role(role: Role) -> None:
    assert authenticate_admin({"authorization": f"Bearer gw-{role}"}, TOKENS) == Admin(f"the-{role}", role)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer gw-"}, {"authorization": "Bearer gw-rea"}])
def test_no_token_and_a_wrong_one_open_nothing(headers: dict[str, str]) -> None:
    assert authenticate_admin(headers, TOKENS) is None
    assert authenticate_admin(headers, ()) is None


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.READ, {Right.READ}),
        (Role.KEYS, {Right.READ, Right.KEYS}),
        (Role.LIMITS, {Right.READ, Right.LIMITS}),
        (Role.STOP, {Right.READ, Right.STOP}),
        (Role.ALL, set(Right)),
    ],
)
def test_what_a_role_may_do_and_nothing_else(role: Role, may: set[Right]) -> None:
    assert {right for right in Right if Admin("x", role).may(right)} == may


def test_no_role_is_left_out_of_the_table() -> None:
    assert set(RIGHTS) == set(Role)
