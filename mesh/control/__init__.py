"""The control plane of a region: `python -m mesh.control`. It watches manifests, and keeps proxies true to
them."""
