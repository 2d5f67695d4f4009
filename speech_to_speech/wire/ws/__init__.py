"""The streaming protocol of `/ws`; docs/protocol.md is its specification."""
