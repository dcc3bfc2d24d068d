"""The dialect of OpenAI's image API, with the base URL `/openai/v1`."""
