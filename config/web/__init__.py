"""The way of requests into the web process: granian, the receiver's entry, proxies, the middleware bypass."""
