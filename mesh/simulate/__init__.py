"""What a request would meet: a fake one walks the configuration that proxies are given.

Pure: nothing listens and nothing is sent. The walk reads the very messages that Envoy would load, by Envoy's
rules (which chain, which host, which route, which priority), so that a test or a person can ask what traffic
does instead of reading YAML.
"""
