"""Sessions at providers: rate limits, the circuit breaker, stored access tokens."""
