"""From stored requests to events: parse, normalize, de-duplicate, place in the feed."""
