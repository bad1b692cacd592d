"""What a proxy is to do, written down as xDS: `translate(view)` is a pure function of its view.

One file per xDS type (cluster, endpoint, listener, route); what several of them need has a file of its own.
All of Istio's precedence was decided before, in `mesh.resolve`; the last step here applies EnvoyFilter
patches.
"""

from __future__ import annotations

from mesh.translate.assemble import translate, translate_endpoints, unused_patches
from mesh.translate.errors import PatchError
from mesh.translate.reuse import Reuse
from mesh.translate.tls import credentials

__all__ = ["PatchError", "Reuse", "credentials", "translate", "translate_endpoints", "unused_patches"]
