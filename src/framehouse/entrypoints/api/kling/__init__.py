"""The Kling dialect: its endpoints and the schemas of their requests and responses."""
