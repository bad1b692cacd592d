"""Istio's decisions: from all manifests of a mesh to what one proxy is to do.

    found = index(manifests)
    for proxy in proxies(manifests):
        view = resolve(found, proxy)

Everything that Istio's precedence, merging and visibility rules decide is decided here, so that
`mesh.translate` only has to write it down. Nothing here does I/O.
"""

from mesh.resolve.index import Index, index
from mesh.resolve.view import proxies, resolve

__all__ = ["Index", "index", "proxies", "resolve"]
