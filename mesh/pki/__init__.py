"""The certificate authority of the mesh: one root, an intermediate a region, short-lived SPIFFE leaves.

```
<folder>/
  root.json                    the roots with their keys; only here, and needed only to sign intermediates
  trust.pem                    the roots that everybody trusts
  regions/<region>/
    authority.pem              the region's intermediate: key, certificate
    gateways/<credential>.pem  certificates that people's clients see: key, chain
  web-authority.pem, web.pem            the authority of those: people's clients trust it, the mesh does not
```

Every file is 0600 and replaced in one step. A region needs `trust.pem` and its own folder, nothing else.
"""
