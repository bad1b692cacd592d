"""What one proxy is to do, in our own words.

Everything that Istio's precedence and merging rules decide is decided here (by `mesh.resolve`), so that
`mesh.translate` only has to write it down as xDS.
"""
