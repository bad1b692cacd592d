"""Decides from a table of roles: an action is allowed to the roles it lists, and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.errors import InvalidRequest
from services.common.identity import Caller
from services.common.permissions import ACTIONS
from services.policy.domain import Decision


class RoleTable:
    """A DecisionEngine over a table of actions. The resource plays no part in it."""

    def __init__(self, actions: Mapping[str, frozenset[str]] = ACTIONS) -> None:
        """``actions`` maps each action to the roles that may do it."""
        self._actions = actions

    def decide(self, caller: Caller, action: str, resource: str) -> Decision:
        """See DecisionEngine."""
        allowed = self._actions.get(action)
        if allowed is None:
            raise InvalidRequest.field("action", "there is no such action")
        granting = sorted(allowed & caller.roles)
        if granting:
            return Decision(True, f"role {granting[0]} allows {action}")
        return Decision(False, f"no rule allows it: {action} is for {', '.join(sorted(allowed)) or 'nobody'}")
