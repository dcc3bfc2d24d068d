"""The admin API, with which operators manage accounts, keys, routes and failed tasks. See docs/operations.md."""
