"""How webhooks and pages enter the web process: the receiver's entry, the middleware bypass, proxies, granian."""
