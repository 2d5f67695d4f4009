"""Language models of the Hugging Face hub, with continuous batching."""
