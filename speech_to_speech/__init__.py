"""Speech to speech: a person speaks and hears a spoken answer."""
