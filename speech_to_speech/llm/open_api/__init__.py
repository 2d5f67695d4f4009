"""Language models behind any server with the OpenAI API."""
