"""`causeway mesh explain`: the way of a request, by simulation over the generated configuration."""

from __future__ import annotations

import argparse
import json

from cli import exits
from cli.exits import CommandError
from cli.mesh_world import load
from mesh.simulate.filters import Assumptions
from mesh.simulate.question import Question, ask
from mesh.simulate.render import explain
from mesh.simulate.request import Token
from mesh.simulate.world import NoSuchProxyError


def run(options: argparse.Namespace) -> int:
    """Explain; 0 when somebody gets the request or a proxy answers it as told, 1 when not."""
    question = Question(
        client=options.client,
        server=options.server,
        region=options.region,
        path=options.method,
        http_method=options.http,
        headers=dict(options.header),
        authority=options.authority,
        port=options.port,
        token=_token(options),
        plaintext=options.plaintext,
        down=tuple(options.down),
        noticed=not options.unnoticed,
        assumptions=Assumptions(random=options.random),
    )
    try:
        walk = ask(load(options.paths), question)
    except NoSuchProxyError as error:
        raise CommandError(str(error), exits.USAGE) from error
    print(json.dumps(walk.to_json(), indent=2) if options.json else "\n".join(explain(walk)))
    return exits.OK if walk.delivered else exits.FAILURE


def _token(options: argparse.Namespace) -> Token | None:
    if options.token is None:
        return None
    issuer, subject = options.token
    return Token(
        issuer=issuer,
        subject=subject or "someone",
        audiences=tuple(options.audience),
        claims=dict(options.claim),
    )
