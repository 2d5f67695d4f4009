"""Files of the Hugging Face hub: from a folder, from the cache, or downloaded."""
