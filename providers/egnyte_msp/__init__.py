"""Egnyte MSP: events about a managed service provider's trials, invoices, users and account at Egnyte."""

from providers.egnyte_msp.provider import EgnyteMsp

provider = EgnyteMsp()
