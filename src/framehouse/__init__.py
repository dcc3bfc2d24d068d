"""Framehouse: a self-hosted server for the omni-image task API.

An entrypoint receives a request. The pipeline processes it step by step, according to the rules of the domain. Adapters
connect the pipeline to outside systems. Reading order:

    cli/          the command line
    wiring.py     creates the adapters and entrypoints from the settings
    runtime/      processes: supervisor, watchdog, limits, logging, tracing
    entrypoints/  the API and its console, the worker, the sweeper
    pipeline/     the steps of a task: accept, load, generate, finish, save_shot
    domain/       the rules: sizes, prompts, requests, errors
    adapters/     Postgres, storage, images, outbound HTTP, telemetry
    engines/      generate images: one folder per engine
    testing/      for authors of engines: the tests that every engine must pass, and an example to copy
"""

__version__ = "0.1.0"
