"""Sessions for calls to providers: rate limits, the circuit breaker, and stored access tokens."""
