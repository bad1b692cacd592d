"""The development issuer: signs tokens for callers on this machine, and publishes its key as a JWKS file.

ES256 (RFC 7518) with P-256. The private key is a 0600 file; services read only the public JWKS.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence

from joserfc import jwk, jwt

from mesh.local.files import write_atomic
from mesh.local.layout import Layout

ISSUER = "https://issuer.causeway.local"
AUDIENCE = "causeway"
ROLES = ("reader", "editor", "admin")


class Issuer:
    """Mints tokens with the platform's development key, made on first use."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._key = _load_or_create(layout)

    def publish(self) -> None:
        """Write the public half where services look for it."""
        document = jwk.KeySet([self._key]).as_dict(private=False)
        write_atomic(self._layout.jwks, json.dumps(document).encode(), mode=0o644)

    def mint(self, tenant: str, subject: str, roles: Sequence[str], ttl: float) -> str:
        """A token that names `subject` of `tenant` with `roles`, valid for `ttl` seconds from now."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "tenant": tenant,
            "roles": list(roles),
            "iat": now,
            "exp": now + int(ttl),
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(
            {"alg": "ES256", "kid": self._key.kid, "typ": "JWT"}, claims, self._key, algorithms=["ES256"]
        )


def _load_or_create(layout: Layout) -> jwk.ECKey:
    path = layout.secrets / "issuer.jwk"
    try:
        return jwk.ECKey.import_key(json.loads(path.read_text("ascii")))
    except FileNotFoundError:
        key = jwk.ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, private=True, auto_kid=True)
        write_atomic(path, json.dumps(key.as_dict(private=True)).encode(), mode=0o600)
        return key
