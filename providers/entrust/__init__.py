"""Entrust Identity as a Service: users, authentications, passkeys, tokens, grid cards and issued credentials."""

from providers.entrust.provider import Entrust

provider = Entrust()
