"""Framehouse: a self-hosted server for the omni-image task API.

A request comes in by an entrypoint, goes down the pipeline one step at a time, with the help of
adapters, under the rules of the domain. To read it in that order:

    cli/          the command line
    wiring.py     the wiring: settings -> adapters -> entrypoints
    runtime/      processes: supervisor, watchdog, limits, logging, tracing
    entrypoints/  the API and its console, the worker, the sweeper
    pipeline/     accept, generate, finish, save_shot: a task's life
    domain/       what is true: sizes, prompts, requests, errors
    adapters/     Postgres, storage, images, outbound HTTP, telemetry
    engines/      what generates images: one folder per engine
    testing/      for authors of engines: the tests that every engine must pass, and an example to copy
"""

__version__ = "0.1.0"
