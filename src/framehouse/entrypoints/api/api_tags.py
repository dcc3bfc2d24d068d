"""The tags of the OpenAPI document. Each operation belongs to one tag."""

TAGS = {
    "tasks": "Create tasks that generate images, get their results, and cancel them. Each kind of task has a separate "
    "path. The operations of `/v1/tasks` work for the tasks of all kinds.",
    "elements": "Save the images of a person, an animal or a thing as an element, and cite the element in prompts. "
    "Each path is also served under its older name, for example `/v1/general/custom-elements`.",
    "images": "Download images by their signed URLs, and find out whether an image was made by this server.",
    "uploads": "Upload an image, and use it as a reference image in later requests.",
    "openai": "Generate and edit images with the official clients of OpenAI. The base URL is `/openai/v1`.",
    "account": "Get the limits, the units and the charges of your account.",
    "health": "Check whether the server runs and can accept tasks, and get its metrics. No key is needed.",
    "admin": "Manage accounts, keys, routes and failed tasks. These operations need an admin key, which "
    "`framehouse admin-key create NAME` creates. They refuse requests with unknown fields.",
}
"""The description of each tag, in the order in which the documentation shows the tags."""
