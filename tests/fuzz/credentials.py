"""Credentials that must not be taken, whatever they are attached to."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from joserfc import jwk, jws
from support.platform import Platform

from fakes.tokens import Issuer
from fuzz.probe import Metadata
from mesh.local.issuer import ISSUER
from services.common.auth import ALGORITHM

_ENDLESS_KID = b'{"alg": "ES256", "kid": ' + b"[" * 1500


def issuer_of(platform: Platform) -> Issuer:
    """The platform's own issuer, able to sign whatever it is asked to."""
    issuer = Issuer(ISSUER)
    issuer.key = jwk.ECKey.import_key(json.loads((platform.layout.secrets / "issuer.jwk").read_text("ascii")))
    return issuer


def hopeless(platform: Platform) -> Mapping[str, Metadata]:
    """Metadata without valid credentials, by what is wrong with it."""
    issuer = issuer_of(platform)
    good = issuer.token("fuzz", "fuzzer", ("admin",))
    head, body, signature = good.split(".")
    claims = _claims(body)
    now = int(time.time())

    def signed(**changed: object) -> str:
        """A token whose signature holds, with other claims; one that is None is left out."""
        said = {name: value for name, value in (claims | changed).items() if value is not None}
        header = {"alg": ALGORITHM, "kid": issuer.key.kid}
        return jws.serialize_compact(header, json.dumps(said), issuer.key, algorithms=[ALGORITHM])

    tokens = {
        "nothing": "",
        "not a token": "x",
        "dots": "..",
        "many dots": "." * 500,
        "not base64": "%%%.%%%.%%%",
        "long": "x" * 7000,  # gRPC itself refuses metadata above 8 KiB, now and then
        "no signature": f"{head}.{body}.",
        "another signature": f"{head}.{body}.{'A' * len(signature)}",
        "claims of another tenant": f"{head}.{_part(claims | {'tenant': 'another'})}.{signature}",
        "algorithm none": f"{_part({'alg': 'none'})}.{body}.",
        "algorithm HS256": f"{_part({'alg': 'HS256', 'kid': issuer.key.kid})}.{body}.{signature}",
        "a header that is a list": f"{_part([])}.{body}.{signature}",
        "a header without an end": f"{_encoded(b'[' * 1500)}.x.y",
        "a header as deep as it may be long": f"{_encoded(b'[' * 380)}.x.y",
        "a key id without an end": f"{_encoded(_ENDLESS_KID)}.{body}.{signature}",
        "a key id that is a list": f"{_part({'alg': ALGORITHM, 'kid': []})}.{body}.{signature}",
        "a key id that is an object": f"{_part({'alg': ALGORITHM, 'kid': {'a': 1}})}.{body}.{signature}",
        "a header of numbers": f"{_part({'alg': 1, 'kid': 1})}.{body}.{signature}",
        "claims that are a list": f"{head}.{_part([])}.{signature}",
        "the key of somebody else": Issuer(ISSUER).token("fuzz"),
        "expired": signed(exp=now - 3600),
        "not valid yet": signed(nbf=now + 3600),
        "another issuer": signed(iss="https://elsewhere.test"),
        "another audience": signed(aud="elsewhere"),
        "no expiry": signed(exp=None),
        "an expiry that is a text": signed(exp="never"),
        "no subject": signed(sub=None),
        "an empty subject": signed(sub=""),
        "a subject that is too long": signed(sub="x" * 257),
        "a subject with U+0000": signed(sub="a\0b"),
        "a subject that is a lone surrogate": signed(sub="\ud800"),
        "a subject that is a number": signed(sub=7),
        "no tenant": signed(tenant=None),
        "an empty tenant": signed(tenant=""),
        "a tenant with a quote": signed(tenant="a'b"),
        "a tenant with a colon": signed(tenant="a:b"),
        "a tenant with a line break": signed(tenant="fuzz\n"),
        "a tenant in capitals": signed(tenant="FUZZ"),
        "a tenant with U+0000": signed(tenant="a\0b"),
        "a tenant that is a list": signed(tenant=["fuzz"]),
        "roles that are a text": signed(roles="admin"),
        "roles that are numbers": signed(roles=[1]),
    }
    bearers: dict[str, Metadata] = {
        name: (("authorization", f"Bearer {token}"),) for name, token in tokens.items()
    }
    return {
        **bearers,
        "no header": (),
        "an empty header": (("authorization", ""),),
        "no scheme": (("authorization", good),),
        "another scheme": (("authorization", f"Basic {good}"),),
        "two headers": (("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")),
        "a header in bytes": (("authorization-bin", f"Bearer {good}".encode()),),
        "another header": (("x-authorization", f"Bearer {good}"),),
    }


def _claims(body: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def _part(value: object) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
