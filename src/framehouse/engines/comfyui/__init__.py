"""An engine for ComfyUI servers, which run workflows of nodes.

Reading order of the modules: `workflows` reads a workflow and fills its placeholders. `comfyui_options` checks the
options. `job_answers` interprets the responses about a job. `comfyui_api` sends the requests. `progress_socket` follows
the progress of a job. `job_execution` places a job, waits for its end and fetches its image. `workflow_check` finds
nodes and models that a server does not have. `comfyui_engine` contains the engine.
"""

from framehouse.engines.comfyui.comfyui_engine import ComfyUI

__all__ = ["ComfyUI"]
