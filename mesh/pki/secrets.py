"""Credentials as xDS secrets (SDS)."""

from __future__ import annotations

from typing import Any

from mesh.pki.svid import Credential
from mesh.xds.protos import base_pb2, secret_pb2, tls_common_pb2

IDENTITY = "default"
"""Istio's name for a workload's own certificate."""
TRUST = "ROOTCA"
"""Istio's name for whom a workload trusts."""
KUBERNETES = "kubernetes://"
"""Istio's prefix for a gateway's credentials."""
TRUST_SUFFIX = "-cacert"
"""After a gateway credential's name: whose client certificates it accepts."""


def certificate_secret(name: str, credential: Credential) -> Any:
    """A Secret with a certificate chain and its key."""
    return secret_pb2.Secret(
        name=name,
        tls_certificate=tls_common_pb2.TlsCertificate(
            certificate_chain=base_pb2.DataSource(inline_bytes=credential.chain),
            private_key=base_pb2.DataSource(inline_bytes=credential.key.reveal().encode()),
        ),
    )


def trust_secret(name: str, bundle: bytes) -> Any:
    """A Secret with the authorities to trust, PEM."""
    return secret_pb2.Secret(
        name=name,
        validation_context=tls_common_pb2.CertificateValidationContext(
            trusted_ca=base_pb2.DataSource(inline_bytes=bundle)
        ),
    )
