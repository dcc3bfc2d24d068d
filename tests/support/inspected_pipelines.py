"""Print what the installed diffusers library says about pipelines, as JSON.

`text` is the content that `pipeline_classes.json` should have. `needless_corrections` contains the corrections that
change nothing. It runs as a separate program, because the test process must not import torch.
"""

import json
import os
from unittest.mock import patch

from framehouse.engines.diffusers import pipeline_inspection
from framehouse.engines.diffusers.pipeline_classes import to_text


def main() -> None:
    import diffusers

    output = os.dup(1)
    os.dup2(2, 1)  # libraries print warnings
    classes = pipeline_inspection.find_image_pipelines()
    with patch.object(pipeline_inspection, "CORRECTIONS", {}):
        uncorrected = {name: pipeline_inspection.describe(getattr(diffusers, name)) for name in classes}
    needless = [
        f"{name}.{field}"
        for name, fields in pipeline_inspection.CORRECTIONS.items()
        for field, value in fields.items()
        if getattr(uncorrected[name], field) == value
    ]
    result = {"text": to_text(diffusers.__version__, classes), "needless_corrections": needless}
    os.write(output, json.dumps(result).encode())


if __name__ == "__main__":
    main()
