"""One image per task with Celery, Redis and FastAPI, as their documentation shows.

`celery -A celery_app worker` generates the images. `python celery_app.py PORT` accepts tasks and answers polls. Both
read the environment variables REDIS (a URL) and FOLDER.
"""

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from PIL import Image

from measuring.photo import photo

celery = Celery("images", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
_pixels = photo(1024, 1024)


@celery.task(name="images.generate")
def generate(task_id: str, prompt: str) -> str:
    path = Path(os.environ["FOLDER"]) / f"{task_id}.png"
    Image.fromarray(_pixels).save(path)
    return str(path)


def serve(port: int) -> None:
    import uuid

    import uvicorn
    from celery.result import AsyncResult
    from fastapi import FastAPI
    from pydantic import BaseModel

    class TaskRequest(BaseModel):
        prompt: str

    app = FastAPI()

    @app.post("/tasks")
    def create(request: TaskRequest) -> dict[str, str]:
        return {"task_id": generate.delay(uuid.uuid4().hex, request.prompt).id}

    @app.get("/tasks/{task_id}")
    def get(task_id: str) -> dict[str, Any]:
        result = AsyncResult(task_id, app=celery)
        return {"status": result.status.lower(), "result": result.result if result.ready() else None}

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
