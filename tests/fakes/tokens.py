"""An issuer of tokens for tests: signs with a key of its own and verifies with the real verifier."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from joserfc import jwk, jwt

from services.common.auth import ALGORITHM, TokenVerifier
from services.common.config import AuthConfig


class Issuer:
    """Mints tokens; ``verifier()`` gives the real TokenVerifier over this issuer's keys."""

    def __init__(self, issuer: str = "https://issuer.test", audience: str = "causeway") -> None:
        self.issuer = issuer
        self.audience = audience
        self.key = jwk.ECKey.generate_key("P-256", {"kid": uuid.uuid4().hex, "use": "sig"})
        self.config = AuthConfig(jwks_uri="file:///not-read", issuer=issuer, audience=audience)
        self.fetches = 0

    async def fetch(self) -> bytes:
        """The JWKS, as a KeySource."""
        self.fetches += 1
        return json.dumps(jwk.KeySet([self.key]).as_dict(private=False)).encode()

    def verifier(self) -> TokenVerifier:
        """The real verifier, reading this issuer's keys."""
        return TokenVerifier(self.config, self)

    def token(
        self, tenant: str = "acme", subject: str = "ada", roles: Any = ("admin",), **claims: Any
    ) -> str:
        """A token; ``claims`` add to or replace the usual ones, None removes one."""
        now = int(time.time())
        body: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + 600,
            "jti": uuid.uuid4().hex,
            "tenant": tenant,
            "roles": list(roles) if isinstance(roles, tuple) else roles,
        }
        body |= claims
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode({"alg": ALGORITHM, "kid": self.key.kid}, body, self.key, algorithms=[ALGORITHM])

    def metadata(
        self, tenant: str = "acme", subject: str = "ada", roles: Sequence[str] = ("admin",)
    ) -> tuple[tuple[str, str], ...]:
        """gRPC metadata with a token."""
        return (("authorization", f"Bearer {self.token(tenant, subject, roles)}"),)
