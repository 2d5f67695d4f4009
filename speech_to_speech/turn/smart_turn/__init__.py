"""Smart Turn, which hears whether a person has finished."""
